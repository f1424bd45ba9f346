"""Curated memory -> its audit, with a check for each fault."""

import base64

import dagster as dg

from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import FOLD, OWNERS, all_days_of
from synde_pipeline.memory.audit.plots import trend_svg
from synde_pipeline.memory.audit.report import FAULTS, Audit, Check, audit
from synde_pipeline.memory.editor import today

_SHOWN = 20
"""Findings of one fault that a check names."""
_SEVERITY = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}


@dg.asset(
    deps=[all_days_of(curated_memory)],
    group_name="memory",
    kinds={"python"},
    owners=OWNERS,
    tags=FOLD,
    check_specs=[dg.AssetCheckSpec(fault, asset="memory_audit") for fault in FAULTS],
)
def memory_audit(synde: Synde) -> dg.MaterializeResult:
    """What is wrong with the memory as of today: duplicates, contradictions, loops, harm, disuse, secrets, attacks."""
    found = audit(synde.warehouse, synde.settings.memory, today())
    return dg.MaterializeResult(
        metadata={
            **{f"{status}_items": n for status, n in found.counts.items()},
            "tokens": sum(sizes["tokens"] for sizes in found.domains.values()),
            "findings": len(found.findings),
            "bank_hash": found.bank.bank_hash,
            "trend": _picture(found),
        },
        check_results=[_result(found, check) for check in found.checks],
    )


def _result(found: Audit, check: Check) -> dg.AssetCheckResult:
    # Dagster's history outlives a removal: it is given ids, no texts and no uids.
    known = {item.item_id for item in (*found.bank.items, *found.bank.others)}
    mine = [known.intersection(finding.items) for finding in found.findings if finding.fault == check.fault]
    lines = [f"* {' '.join(f'`{item_id}`' for item_id in sorted(ids))}" for ids in mine[:_SHOWN] if ids]
    said = "\n".join([*lines, "\n`synde audit` says why, and what mends it"]) if mine else "none"
    return dg.AssetCheckResult(
        check_name=check.fault,
        passed=check.passed,
        severity=_SEVERITY[check.severity],
        metadata={
            "n": check.n,
            "share": check.share,
            "max_share": check.max_share,
            "findings": dg.MetadataValue.md(said),
        },
    )


def _picture(found: Audit) -> dg.MarkdownMetadataValue:
    svg = trend_svg(found.trend)
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return dg.MetadataValue.md(f"![items and tokens](data:image/svg+xml;base64,{data})" if svg else "no day yet")
