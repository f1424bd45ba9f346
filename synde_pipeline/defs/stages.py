"""What the asset files share: owners, and turning headers into metadata."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import dagster as dg

from synde_pipeline.defs.resources import days_of
from synde_pipeline.llm import Llm, Usage
from synde_pipeline.storage import Header

OWNERS = ["team:synde"]
DAILY, FOLD, CYCLE, STUDY = ({"cadence": name} for name in ("daily", "fold", "cycle", "on_demand"))
"""Tags: when an asset is made, and so what may be materialised together (`tag:"cadence"="daily"` in the UI)."""
_HASH = re.compile("[0-9a-f]{64}")
SPENT = "llm_run_"
"""Prefix of the metadata that say what this run used, unlike `llm_...`: what the answers took whenever they came."""


def all_days_of(asset: dg.AssetsDefinition) -> dg.AssetDep:
    """Edge from a daily asset to a cycle: Dagster can only say "all days"; the exact ones are in the cycle's claims."""
    return dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping())


def metadata_of(header: Header) -> dict[str, Any]:
    """Counts and content hash of an artefact, for Dagster's pages and plots."""
    return {**header.counts, "content_hash": dg.MetadataValue.text(header.content_hash)}


def table_of(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows for a page; of a hash its first digits, by which `synde lineage` finds it."""
    short = [{k: v[:16] if isinstance(v, str) and _HASH.fullmatch(v) else v for k, v in row.items()} for row in rows]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in short])


def spent_since(before: Usage, llm: Llm) -> dict[str, Any]:
    """What an asset used of its run's budget, as metadata; nothing where it had no need of a language model."""
    used = llm.usage.since(before)
    return {f"{SPENT}{name}": value for name, value in vars(used).items()} if used != Usage() else {}


def each_day(
    context: dg.AssetExecutionContext, publish: Callable[[date], Header], extra: dict[str, Any] | None = None
) -> dg.MaterializeResult:
    """Publish every day of the run, give each its own metadata, and sum the counts for the run."""
    totals: dict[str, int] = {}
    for day in days_of(context):
        header = publish(day)
        context.add_asset_metadata(metadata_of(header), partition_key=str(day))
        for name, value in header.counts.items():
            totals[name] = totals.get(name, 0) + value
    return dg.MaterializeResult(metadata={**{f"total_{k}": v for k, v in totals.items()}, **(extra or {})})
