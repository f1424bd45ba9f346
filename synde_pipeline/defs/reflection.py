"""Raw logs -> reflections."""

import dagster as dg

from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import OWNERS, each_day
from synde_pipeline.reflection.daily import publish_reflections


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
    warehouse = synde.warehouse
    return each_day(context, lambda day: publish_reflections(warehouse, day))
