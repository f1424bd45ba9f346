"""Merged models and memory -> eval reports."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from synde_pipeline.base_model import pinned
from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.models import merged_models
from synde_pipeline.defs.partitions import training_cycles
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import CYCLE, OWNERS, all_days_of, metadata_of
from synde_pipeline.evaluation.gate import Verdict, decide, gate_of
from synde_pipeline.evaluation.gate_rule import FAILED
from synde_pipeline.evaluation.report import publish, small_svg
from synde_pipeline.evaluation.report_page import sentences
from synde_pipeline.evaluation.sections import NOT_MEASURED
from synde_pipeline.evaluation.summary import TITLES, measured
from synde_pipeline.laboratory import report_of
from synde_pipeline.lease import lease
from synde_pipeline.models.registry import champion
from synde_pipeline.training.cycles import find_cycle

GATE = "candidate_passed_the_gate"


@dg.asset(
    partitions_def=training_cycles,
    deps=[merged_models, all_days_of(curated_memory)],
    group_name="evaluation",
    kinds={"html"},
    owners=OWNERS,
    tags=CYCLE,
    pool="synde_cycles",
)
def eval_reports(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """Four arms on `report` tasks: none, context, weights, dual, with intervals clustered by task."""
    warehouse = synde.warehouse
    with lease(warehouse.root, "training", log=context.log.info):
        cycle = find_cycle(warehouse, context.partition_key)
        report = report_of(warehouse, cycle, synde.settings)
        header = publish(warehouse, cycle.key, report, {"merged_models": report["model"]["hash"]})
    path = warehouse.folder("eval_reports", cycle.key) / "report.html"
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            **numbers(report["all_domains"]),
            **details(report),
            "summary": dg.MetadataValue.md("\n\n".join(sentences(report))),
            "report": dg.MetadataValue.path(str(path.resolve())),
            "plot": plot(report["all_domains"]),
            "is_time_split": report["evaluation"]["is_time_split"],
        }
    )


@dg.asset(
    partitions_def=training_cycles,
    deps=[eval_reports],
    group_name="evaluation",
    kinds={"json"},
    owners=OWNERS,
    tags=CYCLE,
    pool="synde_cycles",
    check_specs=[
        dg.AssetCheckSpec(
            GATE, asset="promoted_model", description="Whether the latest candidate passed, and if not why."
        )
    ],
)
def promoted_model(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The gate's decision: passed, the champion moves; failed or no evidence, it stays. The run is green either way."""
    warehouse, key = synde.warehouse, context.partition_key
    with lease(warehouse.root, "training", log=context.log.info):
        base = pinned(warehouse)
        verdict = decide(warehouse, find_cycle(warehouse, key), base.content_hash)
        served = champion(warehouse)
        gate = gate_of(warehouse, key) or {}
    return dg.MaterializeResult(
        metadata={
            "accepted": str(verdict.accepted),
            "reason": verdict.reason,
            "champion": served.hash,
            "domains": dg.MetadataValue.json({domain: found.cycle for domain, found in served.domains.items()}),
        },
        check_results=[passed_gate(key, verdict, gate)],
    )


def passed_gate(key: str, verdict: Verdict, gate: Mapping[str, Any]) -> dg.AssetCheckResult:
    """The decision as a badge: a candidate that was turned down warns, every check in words; the run stays green."""
    checks = [item for item in gate.get("checks") or () if isinstance(item, Mapping)]
    lines = [f"* {item.get('name')}: **{item.get('status')}**. {item.get('sentence')}" for item in checks]
    return dg.AssetCheckResult(
        check_name=GATE,
        passed=verdict.accepted is True,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{key}: {verdict.reason}",
        metadata={
            "reason": verdict.reason,
            "failed": sum(item.get("status") == FAILED for item in checks),
            "checks": dg.MetadataValue.md("\n".join(lines) or "none"),
        },
    )


def numbers(section: dict[str, Any]) -> dict[str, float]:
    """Each arm's metrics as numbers, which Dagster plots over cycles; none where there were not enough tasks."""
    return {
        f"{metric}_{arm}": found["value"]
        for arm, values in section["arms"].items()
        for metric, found in measured(values).items()
    }


def details(report: dict[str, Any]) -> dict[str, float]:
    """Tasks harmed and helped by each arm, what it costs, retention and contents, as numbers; no text of any log."""
    report = {**NOT_MEASURED, **report}
    found: dict[str, float] = {}
    for arm, one in report["harm"].items():
        found |= {f"harmed_{arm}": len(one["harmed"]), f"helped_{arm}": len(one["helped"])}
    for arm, use in report["cost"]["arms"].items():
        found |= {f"context_tokens_{arm}": use["context_tokens"], f"latency_ms_{arm}": use["latency_ms"]}
    if report["retention"] and report["retention"]["backward_transfer"]:
        found["backward_transfer"] = report["retention"]["backward_transfer"]["value"]
    if report["own_data"]:
        found["own_data_change"] = report["own_data"]["difference"]["value"]
    return {**found, "adapters": report["cost"]["adapters"], "adapter_bytes": report["cost"]["adapter_bytes"]}


def plot(section: dict[str, Any]) -> dg.MarkdownMetadataValue:
    """The four arms as a small inline picture."""
    svg = small_svg(section)
    if not svg:
        return dg.MetadataValue.md(section["arms"]["none"]["note"])
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    metric = next(iter(measured(section["arms"]["none"])))
    return dg.MetadataValue.md(f"{TITLES[metric]}\n\n![arms](data:image/svg+xml;base64,{data})")
