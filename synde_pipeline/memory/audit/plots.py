"""How the memory grew, as characters for a terminal and as a picture for a page."""

from collections.abc import Sequence
from io import StringIO

from synde_pipeline.memory.audit.report import Grown


def trend_text(trend: Sequence[Grown]) -> str:
    """Active items (left scale) and their tokens (right) over days, in characters; empty for fewer than two days."""
    if len(trend) < 2:
        return ""
    import plotext

    days = list(range(len(trend)))
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(76, 14)
    plotext.plot(days, [grown.items for grown in trend], label="active items", marker="i")
    plotext.plot(days, [grown.tokens for grown in trend], label="their tokens", marker="t", yside="right")
    marked = days[:: max(1, len(days) // 6)]
    plotext.xticks(marked, [f"{trend[k].day:%m-%d}" for k in marked])
    return plotext.uncolorize(plotext.build())


def trend_svg(trend: Sequence[Grown]) -> str:
    """Active items and tokens over days, one above the other; empty for no day."""
    if not trend:
        return ""
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    with matplotlib.rc_context({"svg.hashsalt": "synde", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        days = [str(grown.day) for grown in trend]
        for axis, name in zip(axes, ("items", "tokens"), strict=True):
            axis.plot(days, [getattr(grown, name) for grown in trend], marker=".")
            axis.set_ylabel(f"active {name}" if name == "items" else "their tokens")
            axis.set_ylim(bottom=0)
        axes[-1].set_xticks(days[:: max(1, len(days) // 6)])
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
