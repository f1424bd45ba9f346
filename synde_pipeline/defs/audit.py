"""Curated memory -> its audit, with a check for each fault."""

import base64

import dagster as dg

from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import OWNERS, all_days_of
from synde_pipeline.memory.audit.plots import trend_svg
from synde_pipeline.memory.audit.report import FAULTS, Audit, Check, audit
from synde_pipeline.memory.editor import today

_SEVERITY = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}


@dg.asset(
    deps=[all_days_of(curated_memory)],
    group_name="memory",
    kinds={"python"},
    owners=OWNERS,
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
    mine = [finding for finding in found.findings if finding.fault == check.fault]
    lines = [f"* {finding.says}: `{finding.remedy}`" for finding in mine[:20]]
    return dg.AssetCheckResult(
        check_name=check.fault,
        passed=check.passed,
        severity=_SEVERITY[check.severity],
        metadata={
            "n": check.n,
            "share": check.share,
            "max_share": check.max_share,
            "findings": dg.MetadataValue.md("\n".join(lines) or "none"),
        },
    )


def _picture(found: Audit) -> dg.MarkdownMetadataValue:
    svg = trend_svg(found.trend)
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return dg.MetadataValue.md(f"![items and tokens](data:image/svg+xml;base64,{data})" if svg else "no day yet")
