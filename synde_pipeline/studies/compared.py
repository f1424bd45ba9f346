"""Ways that were tried on several cells of tasks: what one gains over another, and what a page shows of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.evaluation.plots import ARM_COLOURS, bars, figure, svg
from synde_pipeline.studies.paired import Found, gain
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import Tried, reached


def changed(found: Tried, way: str, before: str, after: str) -> Found:
    """Success of a way in one cell less that in another one, of the same tasks."""
    return gain([one[after] for one in found[way]], [one[before] for one in found[way]])


def show(run: StudyRun, heading: str, text: str, found: Tried, drawn: Sequence[str]) -> None:
    """Put every way and cell on the page, and into the report; a way may lack a cell.

    Args:
        run: whose page.
        heading: over it.
        text: what success is of.
        found: what was tried.
        drawn: cells of the drawing, four at most.
    """
    cells = list(dict.fromkeys(cell for labs in found.values() for cell in labs[0]))
    levels = {
        way: {cell: reached(found, way, cell) for cell in cells if cell in labs[0]} for way, labs in found.items()
    }
    rows: list[dict[str, Any]] = [
        {"way": way, **{cell: row[cell].text if cell in row else "-" for cell in cells}} for way, row in levels.items()
    ]
    run.show(heading, text, rows=rows, plots=[dots(levels, drawn)])
    run.numbers["levels"] = {
        way: {cell: [one.value, one.interval, one.n] for cell, one in row.items()} for way, row in levels.items()
    }


def dots(levels: Mapping[str, Mapping[str, Found]], cells: Sequence[str]) -> str:
    """A line a way, a coloured dot a cell."""
    drawing, axes = figure(7, 1.2 + 0.28 * len(levels))
    for k, (cell, colour) in enumerate(zip(cells, ARM_COLOURS.values(), strict=False)):
        known = [(n, row[cell]) for n, row in enumerate(levels.values()) if cell in row]
        for n, one in known:
            value, at = one.value or 0.0, n + 0.15 * (k - 1.5)
            error = bars(value, *(one.interval or (value, value)))
            label = cell if n == known[0][0] else None
            axes.errorbar([value], [at], xerr=error, fmt="o", markersize=4, capsize=2, color=colour, label=label)
    axes.set_yticks(range(len(levels)), list(levels))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("success")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(drawing)
