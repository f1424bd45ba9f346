"""The asset graph as a picture: one box an asset, one colour a group, each asset right of all it is made from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from math import inf
from statistics import fmean
from typing import Any

import dagster as dg

from synde_pipeline.evaluation.plots import figure

_COLOURS = ("#3a7fc4", "#2f9163", "#d0672a", "#8a5fbf", "#b8455f", "#7a8594", "#9a8230")
_QUIET = "#858b95"
"""Readable on light and on dark ground."""
_WIDTH, _HEIGHT = 0.78, 0.5
"""Of a box, where columns are 1 apart and so are rows."""
_SWEEPS = 8
"""Passes over the columns that pull boxes towards their neighbours; few graphs change after three."""

Node = str | tuple[str, str, int]
"""An asset, or the place in a column where the line from one asset to another passes."""


def asset_graph(definitions: dg.Definitions) -> Any:
    """Draw all assets but the studies, which stand for themselves, as a matplotlib figure."""
    graph = definitions.resolve_asset_graph()
    of_group = {
        key.to_user_string(): graph.get(key).group_name
        for key in graph.toposorted_asset_keys
        if graph.get(key).group_name != "studies"
    }
    parents = {
        name: sorted({parent.to_user_string() for parent in graph.get(key).parent_keys} & of_group.keys())
        for key in graph.toposorted_asset_keys
        if (name := key.to_user_string()) in of_group
    }
    return drawn(parents, of_group)


def places(parents: Mapping[str, Sequence[str]]) -> tuple[dict[Node, tuple[int, float]], dict[tuple[str, str], list]]:
    """Column and row of each asset, and for each edge the places that its line passes (Sugiyama, Tagawa, Toda 1981).

    Args:
        parents: what each asset is made from; parents come before their children.

    Returns:
        (column, row) of assets and of passing lines; for each edge (parent, child) the nodes from one to the other.
    """
    column: dict[Node, int] = {}
    edges: dict[tuple[str, str], list[Node]] = {}
    for name, made_from in parents.items():
        column[name] = max((column[parent] + 1 for parent in made_from), default=0)
        for parent in made_from:
            passing: dict[Node, int] = {(parent, name, k): k for k in range(column[parent] + 1, column[name])}
            column |= passing
            edges[parent, name] = [parent, *passing, name]
    beside: dict[Node, list[Node]] = defaultdict(list)
    for one, other in chain.from_iterable(map(pairwise, edges.values())):
        beside[one].append(other)
        beside[other].append(one)
    columns: dict[int, list[Node]] = defaultdict(list)
    for node, at in column.items():
        columns[at].append(node)
    rows = _rows([columns[at] for at in sorted(columns)], beside)
    return {node: (at, rows[node]) for node, at in column.items()}, edges


def _rows(columns: Sequence[list[Node]], beside: Mapping[Node, Sequence[Node]]) -> dict[Node, float]:
    """Rows near the mean of the neighbours' rows, at least one apart within a column."""
    row = {node: float(k) for column in columns for k, node in enumerate(column)}
    for column in list(columns) * _SWEEPS:
        wanted = {node: fmean(row[one] for one in beside.get(node, [node])) for node in column}
        lowest = -inf
        for node in sorted(column, key=wanted.__getitem__):
            row[node] = max(wanted[node], lowest)
            lowest = row[node] + 1
    return row


def drawn(parents: Mapping[str, Sequence[str]], of_group: Mapping[str, str]) -> Any:
    """The figure."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path as Curve

    at, edges = places(parents)
    low, high = min(row for _, row in at.values()), max(row for _, row in at.values())
    last = max(k for k, _ in at.values())
    drawing, axes = figure(1.75 * (last + 1), 0.9 * (high - low + 1.6))
    colour = dict(zip(dict.fromkeys(of_group.values()), _COLOURS, strict=False))
    for path in edges.values():
        points, codes = [], []
        for one, other in pairwise(path):
            (x, y), (to_x, to_y) = at[one], at[other]
            x += _WIDTH / 2 if isinstance(one, str) else 0
            to_x -= _WIDTH / 2 if isinstance(other, str) else 0
            middle = (x + to_x) / 2
            points += [(x, y), (middle, y), (middle, to_y), (to_x, to_y)]
            codes += [Curve.LINETO if codes else Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
        axes.add_patch(PathPatch(Curve(points, codes), fill=False, edgecolor=_QUIET, linewidth=1.2, zorder=1))
    for name, group in of_group.items():
        x, y = at[name]
        corner = (x - _WIDTH / 2, y - _HEIGHT / 2)
        shape = "round,pad=0,rounding_size=0.08"
        axes.add_patch(
            FancyBboxPatch(corner, _WIDTH, _HEIGHT, boxstyle=shape, facecolor=colour[group], edgecolor="none", zorder=2)
        )
        axes.text(x, y, name.replace("_", "\n", 1), color="#fefefe", ha="center", va="center", fontsize=11, zorder=3)
    marks = [Line2D([], [], marker="s", linestyle="", color=value, label=name) for name, value in colour.items()]
    axes.legend(
        handles=marks,
        ncols=len(marks),
        loc="lower center",
        bbox_to_anchor=(0.5, -0.08),
        frameon=False,
        labelcolor=_QUIET,
    )
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(high + 0.6, low - 0.6)  # the first row on top
    axes.set_axis_off()
    return drawing
