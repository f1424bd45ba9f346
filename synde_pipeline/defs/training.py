"""Raw logs and reflections -> training examples -> buffer -> shards; the base model beside them."""

import dagster as dg

from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.partitions import daily, one_run, training_cycles
from synde_pipeline.defs.reflection import reflections
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import CYCLE, DAILY, FOLD, OWNERS, all_days_of, each_day, metadata_of, table_of
from synde_pipeline.evaluation.due import standing
from synde_pipeline.laboratory import scribe_for
from synde_pipeline.lease import lease
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.cycles import find_cycle
from synde_pipeline.training.daily import ensure_base, publish_examples, publish_shard
from synde_pipeline.training.trust import Trust


@dg.asset(
    partitions_def=daily,
    backfill_policy=one_run,
    deps=[raw_logs, reflections],
    group_name="training",
    kinds={"parquet"},
    owners=OWNERS,
    tags=DAILY,
)
def training_examples(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """State-action-outcome examples of a day, in the paper's schema, with contrastive weights."""
    warehouse, settings = synde.warehouse, synde.settings
    return each_day(context, lambda day: publish_examples(warehouse, day, settings))


@dg.asset(
    deps=[training_examples], group_name="training", kinds={"parquet"}, owners=OWNERS, tags=FOLD, pool="synde_cycles"
)
def training_buffer(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """Freezes a cycle for each domain whose unclaimed examples reach the threshold; the sensor then trains it."""
    warehouse, settings = synde.warehouse, synde.settings
    with lease(warehouse.root, "training", log=context.log.info):
        frozen, buffer = freeze_cycles(
            warehouse,
            settings.buffer,
            standing=standing(warehouse),
            forced=synde.train_now,
            trust=Trust.now(warehouse, settings.memory),
        )
    claimed = {cycle.domain for cycle in frozen}
    waiting = {f"waiting_{d}": buffer.n_signals(d) for d in buffer.unclaimed if d not in claimed}
    return dg.MaterializeResult(
        metadata={
            "frozen": len(frozen),
            "threshold": settings.buffer.threshold,
            "changed_after_claim": buffer.n_changed,
            "returned": len(buffer.returned),
            "stale_days": buffer.n_stale_days,
            "left_out": buffer.n_left_out,
            "cycles": dg.MetadataValue.json([cycle.key for cycle in frozen]),
            **waiting,
        }
    )


@dg.asset(
    deps=[training_examples, curated_memory], group_name="training", kinds={"huggingface"}, owners=OWNERS, tags=CYCLE
)
def base_model(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The base that this warehouse is pinned to: `SYNDE_BASE_MODEL`, or a small one built from the first days' logs."""
    with lease(synde.warehouse.root, "training", log=context.log.info):
        header = ensure_base(synde.warehouse, synde.settings)
    return dg.MaterializeResult(metadata={**metadata_of(header), "base": str(header.info["name"])})


@dg.asset(
    partitions_def=training_cycles,
    deps=[training_buffer, all_days_of(curated_memory), base_model],
    group_name="training",
    kinds={"parquet"},
    owners=OWNERS,
    tags=CYCLE,
    pool="synde_cycles",
)
def training_shards(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """Claimed examples and replay of a cycle as token sequences, with a weight for every token."""
    warehouse, settings = synde.warehouse, synde.settings
    with lease(warehouse.root, "training", log=context.log.info):
        cycle = find_cycle(warehouse, context.partition_key)
        header = publish_shard(warehouse, cycle, settings, scribe_for(settings))
    return dg.MaterializeResult(metadata={**metadata_of(header), "claims": table_of(header.info["claims"])})
