"""The notes benchmark as people read it: one self-contained HTML page with plots."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.page import render as fill

Row = dict[str, Any]
NAMES = {0.0: "none", 0.5: "half", 1.0: "full"}
"""Momentum in the document's words."""
COLOURS = (ARM_COLOURS["weights"], ARM_COLOURS["context"], ARM_COLOURS["dual"], "#8f6bd0")


def render(report: dict[str, Any]) -> str:
    """The whole page: no script, no outside resource, every text escaped."""
    tables = {
        "Easy table: two attributes decide": grid(report["grid"], "momentum"),
        "Evidence carried on (ours), 140 words": grid(report["carry"], "carry", of="momentum"),
        "Hard table: three attributes decide, sentences have two at most": grid(report["hard"], "momentum"),
        "Only success is revealed (half momentum)": grid(report["success_only"], "momentum"),
    }
    return fill("studies/notes.html.j2", report=report, tables=tables, plots=plots(report))


def grid(rows: Iterable[Row], knob: str, of: str = "") -> list[dict[str, Any]]:
    """A table with one line a noise and knob (and a second one), one cell an accumulation."""

    def key(row: Row) -> tuple[float, ...]:
        return row["noise"], *((row[of],) if of else ()), row[knob]

    lines = []
    for _, group in groupby(sorted(rows, key=lambda row: (*key(row), row["accumulation"])), key=key):
        found = list(group)
        words = [f"{name} {_name(name, found[0][name])}" for name in (of, knob) if name]
        lines.append({"noise": f"{found[0]['noise']:.0%}", "knob": ", ".join(words), "cells": found})
    return lines


def _name(knob: str, value: float) -> str:
    return NAMES.get(value, str(value)) if knob == "momentum" else f"{value:g}"


def text_grid(report: dict[str, Any]) -> str:
    """The easy table for a terminal: accuracy/deviation/drawdown."""
    lines = grid(report["grid"], "momentum")
    heads = [f"accumulation {row['accumulation']}" for row in lines[0]["cells"]]
    text = [" | ".join(["noise", "momentum", *heads])]
    for line in lines:
        cells = [f"{row['accuracy']:.3f}/{row['deviation']:.3f}/{row['drawdown']:.2f}" for row in line["cells"]]
        text.append(" | ".join([line["noise"], line["knob"], *cells]))
    return "\n".join(text)


def plots(report: dict[str, Any]) -> dict[str, list[str]]:
    """Inline SVG by heading."""
    n = report["n_seeds"]
    curves = []
    for noise in (0.1, 0.2):
        for accumulation in sorted({row["accumulation"] for row in report["grid"]}):
            rows = _where(report["grid"], noise=noise, accumulation=accumulation)
            lines = [(f"momentum {NAMES[row['momentum']]}", row["curve"]) for row in rows]
            curves.append(_curves(lines, f"noise {noise:.0%}, accumulation {accumulation}, mean of {n} seeds"))
    carried = []
    for noise in (0.1, 0.2):
        rows = _where(report["carry"], noise=noise, accumulation=1, momentum=0.0)
        lines = [(f"carry {row['carry']:g}", row["curve"]) for row in rows]
        carried.append(_curves(lines, f"noise {noise:.0%}, accumulation 1, momentum none, mean of {n} seeds"))
    return {
        "Learning curves": curves,
        "In-run deviation and accuracy": [_by_noise(report, "deviation"), _by_noise(report, "accuracy")],
        "Learning curves with evidence": carried,
    }


def _curves(lines: Sequence[tuple[str, Sequence[Sequence[float]]]], title: str) -> str:
    drawing, axes = figure(4.4, 2.7)
    for (label, points), colour in zip(lines, COLOURS, strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", label=label, color=colour, markersize=2.5)
    axes.axhline(0.25, color="#888", linewidth=0.8, linestyle=":")
    axes.set_ylim(0.2, 1.03)
    axes.set_xlabel("samples seen", fontsize=8)
    axes.set_ylabel("accuracy, held out", fontsize=8)
    axes.set_title(title, fontsize=8)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return svg(drawing)


def _by_noise(report: dict[str, Any], name: str) -> str:
    """A measure against noise at accumulation 4, each seed a point."""
    drawing, axes = figure(4.4, 2.7)
    for (momentum, label), colour in zip(NAMES.items(), COLOURS, strict=False):
        rows = _where(report["grid"], momentum=momentum, accumulation=4)
        axes.plot([row["noise"] for row in rows], [row[name] for row in rows], "-", color=colour, label=label)
        for row in rows:
            values = row["by_seed"][name]
            axes.plot([row["noise"]] * len(values), values, "o", color=colour, markersize=2.5, alpha=0.5)
    axes.set_xlabel("share of wrong labels", fontsize=8)
    axes.set_title(f"{name}, second half, accumulation 4; points are seeds", fontsize=8)
    axes.legend(fontsize=7, title="momentum", title_fontsize=7)
    axes.grid(alpha=0.3)
    return svg(drawing)


def _where(rows: Iterable[Row], **knobs: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in knobs.items())]
