"""Drawing for pages: an empty figure, and a figure as inline SVG."""

import io
from typing import Any


def figure(width: float, height: float) -> tuple[Any, Any]:
    """An empty figure and its axes."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.add_subplot()
    axes.tick_params(labelsize=8)
    return drawing, axes


def svg(drawing: Any) -> str:
    """A figure as SVG text; equal figures are equal bytes."""
    import matplotlib

    buffer = io.StringIO()
    # A fixed salt and no date: equal reports are equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "synde", "svg.fonttype": "none"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
