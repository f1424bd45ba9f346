"""Reflections -> memory deltas -> curated memory."""

from contextlib import suppress

import dagster as dg

from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.defs.reflection import reflections
from synde_pipeline.defs.resources import Synde, days_of
from synde_pipeline.defs.stages import DAILY, OWNERS, each_day, spent_since
from synde_pipeline.errors import LineageError
from synde_pipeline.memory.banks import counts_as_of
from synde_pipeline.memory.daily import publish_deltas, publish_memory


@dg.asset(
    partitions_def=daily,
    backfill_policy=one_run,
    deps=[reflections],
    group_name="memory",
    kinds={"parquet"},
    owners=OWNERS,
    tags=DAILY,
)
def memory_deltas(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """Curator operations and evidence of a day's `train` trajectories, with embeddings."""
    warehouse, config, before = synde.warehouse, synde.settings.memory, synde.llm.usage
    result = each_day(context, lambda day: publish_deltas(warehouse, day, config))
    return dg.MaterializeResult(metadata={**(result.metadata or {}), **spent_since(before, synde.llm)})


@dg.asset(
    partitions_def=daily,
    backfill_policy=one_run,
    deps=[memory_deltas],
    group_name="memory",
    kinds={"lancedb"},
    owners=OWNERS,
    tags=DAILY,
)
def curated_memory(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The day's rows of the memory ledger, replaced as a whole. The bank as of any day is a pure fold of the ledger."""
    warehouse, last = synde.warehouse, days_of(context)[-1]
    result = each_day(context, lambda day: publish_memory(warehouse, day))
    with suppress(LineageError):  # other days wait for this embedder: there is no bank yet
        bank = counts_as_of(warehouse, synde.settings.memory, [last])[last]
        grown = {"active_items": bank["active"], "active_tokens": bank["tokens"], "other_items": bank["others"]}
        context.add_asset_metadata(grown, partition_key=str(last))
    return result
