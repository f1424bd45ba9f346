"""Eval reports as files, as a table for a terminal, and as a small picture; the HTML page is in `report_page`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synde_pipeline.evaluation.earlier import REPORTS
from synde_pipeline.evaluation.plots import ARM_COLOURS
from synde_pipeline.evaluation.report_page import render
from synde_pipeline.evaluation.summary import ARMS, HEADS, measured, with_interval
from synde_pipeline.lineage import write_lineage
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.tables import text_table

_UNHASHED = {"latency_ms", "seconds", "cpu_s", "logs", "labels"}
"""Measured times, and what else happened to lie in the warehouse when the report was made."""


def publish(warehouse: Warehouse, key: str, report: dict[str, Any], inputs: dict[str, str]) -> Header:
    """Write report.json and report.html side by side; the content hash leaves measured times out."""

    def write(folder: Path) -> None:
        (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
        (folder / "report.html").write_text(render(report), "utf-8")
        write_lineage(folder, warehouse, inputs, {"cycle": report["cycle"], "domain": report["domain"]})

    def describe(_: Path) -> Header:
        info = {"is_time_split": report["evaluation"]["is_time_split"], "domain": report["domain"]}
        info["has_gate"] = report.get("gate") is not None
        counts = {"tasks": report["evaluation"]["n_tasks"]}
        hashed = content_hash(without_times(report))
        return Header(artefact=REPORTS, key=key, content_hash=hashed, inputs=inputs, counts=counts, info=info)

    return warehouse.publish_folder(REPORTS, key, write, describe)


def without_times(value: Any) -> Any:
    """A JSON value without its measured times, for content hashes."""
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in _UNHASHED}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def rows_of(section: dict[str, Any], arms: Sequence[str] = ARMS) -> list[dict[str, str]]:
    """The table of arms as text cells; `section` has `arms` and `differences`."""
    rows = []
    for arm in arms:
        values = section["arms"][arm]
        if "note" in values:
            rows.append({"arm": arm, "n": str(values["n"]), "note": values["note"]})
            continue
        row = {"arm": arm, "n": str(values["n"])}
        for metric, found in measured(values).items():
            row[metric] = with_interval(found)
            found = section["differences"].get(arm, {}).get(metric)
            row[f"{metric}_difference"] = f"{with_interval(found, sign=True)} {found['against_none']}" if found else "-"
        row |= {"context_tokens": f"{values['context_tokens']:.0f}", "latency_ms": f"{values['latency_ms']:.1f}"}
        rows.append(row)
    return rows


def arms_table(
    section: dict[str, Any], confidence: float = 0.95, arms: Sequence[str] = ARMS, *, plain: bool = False
) -> str:
    """The table of arms as text, for a terminal or (`plain`) a page."""
    rows = rows_of(section, arms)
    if "note" in rows[0]:
        return f"all arms: {rows[0]['note']}"
    metrics = list(measured(section["arms"][arms[0]]))
    unit = "place" if "n_places" in section["arms"][arms[0]] else "task"
    names = ["arm", "n", *(name for metric in metrics for name in (metric, f"{metric}_difference")), "context_tokens"]
    heads = [
        "arm",
        "tasks",
        *(head for metric in metrics for head in (HEADS[metric], "against none")),
        "context tokens",
    ]
    table = text_table([[row[name] for name in names] for row in rows], heads, plain=plain)
    return f"{table}\nbrackets: {confidence:.0%} intervals, bootstrap clustered by {unit}, differences paired"


def small_svg(section: dict[str, Any]) -> str:
    """A plot for Dagster's metadata: the metric that counts for the four arms, with intervals.

    Under 600 bytes, because Dagster hides markdown of 1,000 characters behind a button and base64 adds a third.
    """
    if "note" in section["arms"]["none"]:
        return ""
    found = [next(iter(measured(section["arms"][arm]).values())) for arm in ARMS]
    low, high = min(value["low"] for value in found), max(value["high"] for value in found)
    scale = 70 / ((high - low) or 1)
    text = "font-size='10' font-family='sans-serif' text-anchor='middle' fill='#777'"
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' width='340' height='96' stroke-width='2' {text}>"]
    for k, (arm, value) in enumerate(zip(ARMS, found, strict=True)):
        x = 42 + 85 * k
        top, middle, bottom = (round(5 + (high - value[name]) * scale) for name in ("high", "value", "low"))
        parts.append(
            f"<path stroke='{ARM_COLOURS[arm]}' d='M{x} {top}V{bottom}m-5 {middle - bottom}h10'/>"
            f"<text x='{x}' y='92'>{arm} {value['value']:.3f}</text>"
        )
    return "".join([*parts, "</svg>"])
