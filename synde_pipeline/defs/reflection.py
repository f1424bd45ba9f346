"""Raw logs -> reflections."""

import dagster as dg

from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.defs.resources import Synde, days_of
from synde_pipeline.defs.stages import DAILY, OWNERS, each_day, spent_since
from synde_pipeline.llm import Price
from synde_pipeline.reflection.daily import price_of_day, publish_reflections


@dg.asset(
    partitions_def=daily,
    backfill_policy=one_run,
    deps=[raw_logs],
    group_name="reflection",
    kinds={"parquet", "python"},
    owners=OWNERS,
    tags=DAILY,
)
def reflections(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """What each trajectory, read alone, teaches: strategy, why, principle, confidence, the step where it turned."""
    warehouse, settings, llm = synde.warehouse, synde.settings, synde.llm
    before = llm.usage
    price = sum((price_of_day(warehouse, day, settings, llm) for day in days_of(context)), Price())
    if price.calls:
        context.log.info(f"{settings.llm.model}: {price}")
    result = each_day(context, lambda day: publish_reflections(warehouse, day, settings, llm))
    return dg.MaterializeResult(metadata={**(result.metadata or {}), **spent_since(before, llm)})
