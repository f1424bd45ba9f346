"""An eval report as a page that a person reads in two minutes: verdict, arms, curves, retention, contents, cost, harm.

What is computed lies in report.json; this module only words and draws it. The layout is in `report.html.j2`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.evaluation.plots import ARM_COLOURS, bars, figure, svg
from synde_pipeline.evaluation.retention import BASE_ROW
from synde_pipeline.evaluation.sections import NOT_MEASURED
from synde_pipeline.evaluation.summary import ARMS, HEADS, METRICS, TITLES, measured, with_interval
from synde_pipeline.evaluation.unlabelled import told_of_labels
from synde_pipeline.page import render as fill

TOLD = (("dual", "none"), ("weights", "none"), ("dual", "context"))
"""The pairs that the verdict puts into words."""
WORDS = {
    "none": "the base alone",
    "context": "memory in context",
    "weights": "the adapters alone",
    "dual": "memory and adapters",
}
SHOWN = 15
"""Tasks of one harm or help list on the page; report.json has all."""
_GOOD, _BAD = "47,145,99", "200,80,60"


def render(report: dict[str, Any]) -> str:
    """The whole page: no script, no outside resource, every logged text escaped; sections may be missing."""
    report = {**NOT_MEASURED, **report}
    return fill(
        "evaluation/report.html.j2",
        report=report,
        gate=gate_of(report.get("gate")),
        sentences=sentences(report),
        unlabelled=told_of_labels(report["labels"]),
        metrics=[(HEADS[metric], metric) for metric in METRICS if metric in measured(report["arms"]["none"])],
        measured=measured,
        cell=with_interval,
        p=p_text,
        arms=ARMS,
        words=WORDS,
        plots=arm_plots(report),
        curve=curve_plot(report["curve"]),
        heat=heat_map(report["retention"]),
        changes=changes_plot(report),
        groups=groups_of(report),
        harm=harm_of(report["harm"]),
        shown=SHOWN,
        unit="place" if "n_places" in report["arms"]["none"] else "task",
    )


# -- words ------------------------------------------------------------------------------------------------------------


def gate_of(gate: Any) -> dict[str, Any]:
    """The gate's word as a heading, a colour and its checks; without evidence nothing is promoted.

    What is no gate section, and no check, is shown as far as it can be: deciding is not the page's.
    """
    if not isinstance(gate, dict):
        return {"word": "No gate evidence: the champion stays", "colour": "open", "reason": "", "checks": []}
    passed = gate.get("passed") is True
    word = "Passes the gate" if passed else "Does not pass the gate: the champion stays"
    return {
        "word": word,
        "colour": "good" if passed else "bad",
        "reason": gate.get("reason", ""),
        "checks": [
            {name: one.get(name) for name in ("name", "status", "sentence")}
            for one in gate.get("checks") or ()
            if isinstance(one, dict)
        ],
    }


def sentences(report: dict[str, Any]) -> list[str]:
    """What the numbers say, one sentence a comparison, and one on retention; sections may be missing."""
    report = {**NOT_MEASURED, **report}
    pairs = {(one["arm"], one["reference"]): one for one in report["comparisons"]}
    said = [_compared(report["arms"], pairs[pair]) for pair in TOLD if pair in pairs]
    held = report["retention"]
    if not held:
        return said
    moved = held["backward_transfer"]
    if moved is None:
        return [*said, "Retention: no earlier cycle's tasks to forget yet."]
    n, change = len(moved["sets"]), with_interval(moved, sign=True)
    return [*said, f"Retention over {n} earlier task set{'s' * (n > 1)}: {change}, {moved['verdict']}."]


def _compared(arms: Mapping[str, Any], one: dict[str, Any]) -> str:
    metric, found = next(iter(one["metrics"].items()))
    arm, reference = one["arm"], one["reference"]
    values = (f"{measured(arms[name])[metric]['value']:.3f}" for name in (arm, reference))
    said = "{} against {}".format(*values)
    test, counted = one["mcnemar"], "" if metric == "success" else "by the logged tool's rank "
    return (
        f"{WORDS[arm].capitalize()} against {WORDS[reference]}: {HEADS[metric]} {said}, difference "
        f"{with_interval(found, sign=True)}, {found['verdict']}; {counted}{test['gained']} tasks better, "
        f"{test['lost']} worse ({p_text(test['p'])})."
    )


def p_text(p: float) -> str:
    """A p value for people."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def harm_of(harm: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Both lists of each arm, cut to what the page shows, with what is left over."""
    return [
        {
            "arm": arm,
            "n_tasks": one["n_tasks"],
            **{f"n_{way}": len(one[way]) for way in ("harmed", "helped")},
            **{way: one[way][:SHOWN] for way in ("harmed", "helped")},
        }
        for arm, one in harm.items()
    ]


def groups_of(report: dict[str, Any]) -> dict[str, Any]:
    """Title -> first head, arms and rows of the tables by place, domain and number of items: the metric that counts."""
    tables = {
        "By place: was the model trained on it?": ("place", ARMS, report["by_place"]),
        "By domain, latest report of each": ("domain", ARMS, report["by_domain"]),
        "By number of memory items shown": (
            "items at most",
            ("base", "trained"),
            {str(row["k"]): row for row in report["by_k"]},
        ),
    }
    return {
        title: {"head": head, "arms": arms, "rows": [_group(name, row, arms) for name, row in rows.items()]}
        for title, (head, arms, rows) in tables.items()
        if rows
    }


def _group(name: str, row: dict[str, Any], arms: Sequence[str]) -> tuple[str, int, list[str]]:
    found = [list(measured(row["arms"][arm]).values()) for arm in arms]
    return name, row["n_tasks"], [with_interval(one[0]) if one else "too few" for one in found]


# -- drawings ---------------------------------------------------------------------------------------------------------


def arm_plots(section: dict[str, Any]) -> list[str]:
    """One SVG a metric: the arms with their intervals. Empty when there were not enough tasks."""
    drawn = []
    for metric in measured(section["arms"]["none"]):
        drawing, axes = figure(4.4, 2.5)
        for k, arm in enumerate(ARMS):
            found = measured(section["arms"][arm])[metric]
            error = bars(found["value"], found["low"], found["high"])
            axes.errorbar([k], [found["value"]], yerr=error, fmt="o", color=ARM_COLOURS[arm], capsize=5)
        axes.set_xticks(range(len(ARMS)), ARMS)
        axes.set_title(f"{TITLES[metric]}, n={section['arms']['none']['n']} tasks", fontsize=8)
        axes.grid(axis="y", alpha=0.3)
        drawn.append(svg(drawing))
    return drawn


def curve_plot(points: list[dict[str, Any]]) -> str:
    """The arms over the cycles of the domain; empty for fewer than two."""
    if len(points) < 2:
        return ""
    drawing, axes = figure(7.2, 2.8)
    x = range(len(points))
    for arm in ARMS:
        found = [point["arms"][arm] for point in points]
        axes.plot(x, [one["value"] for one in found], "o-", color=ARM_COLOURS[arm], label=arm, markersize=4)
        low, high = [one["low"] for one in found], [one["high"] for one in found]
        axes.fill_between(x, low, high, color=ARM_COLOURS[arm], alpha=0.12, linewidth=0)
    step = max(1, len(points) // 8)
    axes.set_xticks(x[::step], [point["cycle"] for point in points][::step])
    axes.set_title(TITLES[points[-1]["arms"]["none"]["metric"]], fontsize=8)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return svg(drawing)


def changes_plot(report: dict[str, Any]) -> str:
    """Each replayed task's change in nats per token against `none`, by arm: who gains and who is harmed."""
    tasks = [task["arms"] for task in report["tasks"] if "nll" in task["arms"]["none"]]
    if not tasks:
        return ""
    drawing, axes = figure(7.2, 2.8)
    for arm in ARMS[1:]:
        changes = sorted(_nll(task[arm]) - _nll(task["none"]) for task in tasks)
        axes.plot(range(len(changes)), changes, "o-", color=ARM_COLOURS[arm], label=arm, markersize=4, linewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("tasks of this domain, sorted by change", fontsize=8)
    axes.set_ylabel("nats per token against none", fontsize=8)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return svg(drawing)


def _nll(sums: dict[str, Any]) -> float:
    return sums["nll"] / sums["n_tokens"]


def heat_map(held: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rows of cells with a tint: share solved, or how far below (green) or above (red) the base's nats per token."""
    if not held or not held["sets"]:
        return None
    base = held["rows"][BASE_ROW]
    rows = []
    for name, row in held["rows"].items():
        cells = [_tinted(row.get(key), base.get(key), held["is_lower_better"]) for key in held["sets"]]
        rows.append({"name": name, "cells": cells, "is_out": name in held["not_promoted"]})
    return {"sets": held["sets"], "rows": rows, "title": TITLES[held["metric"]]}


def _tinted(cell: dict[str, Any] | None, base: dict[str, Any] | None, is_lower_better: bool) -> dict[str, str] | None:
    if cell is None:
        return None
    colour, strength = _GOOD, cell["value"]
    if is_lower_better:
        gain = (base["value"] - cell["value"]) / base["value"] if base else 0.0
        colour, strength = (_GOOD if gain >= 0 else _BAD), min(1.0, 2 * abs(gain))
    interval = [] if cell["low"] is None else [f"{cell['low']:.2f} to {cell['high']:.2f}"]
    return {
        "value": f"{cell['value']:.2f}",
        "about": ", ".join([*interval, f"n={cell['n']}"]),
        "tint": f"rgba({colour},{0.05 + 0.6 * strength:.2f})",
    }
