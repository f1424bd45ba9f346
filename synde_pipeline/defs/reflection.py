"""Raw logs -> reflections."""

import dagster as dg

from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.defs.resources import Synde, days_of
from synde_pipeline.defs.stages import OWNERS, each_day
from synde_pipeline.llm import Llm, Price
from synde_pipeline.reflection.daily import price_of_day, publish_reflections
from synde_pipeline.reflection.reflector import uses_llm

SPENT = "llm_run_"
"""Prefix of the metadata that say what this run used, unlike `llm_...`: what the answers took whenever they came."""


@dg.asset(
    partitions_def=daily,
    backfill_policy=one_run,
    deps=[raw_logs],
    group_name="reflection",
    kinds={"parquet", "python"},
    owners=OWNERS,
)
def reflections(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """What each trajectory, read alone, teaches: strategy, why, principle, confidence, the step where it turned."""
    warehouse, settings = synde.warehouse, synde.settings
    llm = Llm(warehouse, settings.llm)
    price = sum((price_of_day(warehouse, day, settings, llm) for day in days_of(context)), Price())
    if price.calls:
        context.log.info(f"{settings.llm.model}: {price}")
    result = each_day(context, lambda day: publish_reflections(warehouse, day, settings, llm))
    used = vars(llm.usage) if uses_llm(settings.reflection) else {}
    return dg.MaterializeResult(metadata={**(result.metadata or {}), **{f"{SPENT}{k}": v for k, v in used.items()}})
