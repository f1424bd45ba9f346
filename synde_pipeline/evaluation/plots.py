"""Drawing for pages: an empty figure, and a figure as inline SVG that is readable on light and on dark ground."""

import io
import re
from typing import Any

ARM_COLOURS = {"none": "#858b95", "context": "#3a7fc4", "weights": "#d0672a", "dual": "#2f9163"}
"""Colours that stand out on the white and on the dark ground of `page.html.j2` alike (contrast of 3 or more)."""


def figure(width: float, height: float) -> tuple[Any, Any]:
    """An empty figure and its axes."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.add_subplot()
    axes.tick_params(labelsize=8)
    return drawing, axes


def bars(value: float, low: float, high: float) -> list[list[float]]:
    """Lengths of an error bar, (2, 1). A percentile interval may leave the value itself out: then one side has none."""
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def svg(drawing: Any) -> str:
    """A figure as SVG text: black becomes the page's ink, white its ground; equal figures are equal bytes.

    Black and white must mean nothing else in the drawing.
    """
    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # A fixed salt and no date: equal reports are equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "synde", "svg.fonttype": "none"}):
        drawing.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("#000000", "currentColor")
    return re.sub(r"fill: #ffffff", "fill: none", text)
