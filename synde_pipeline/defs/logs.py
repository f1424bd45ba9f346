"""Landing -> raw logs."""

import dagster as dg

from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import DAILY, OWNERS, each_day
from synde_pipeline.logs.daily import publish_raw_logs


@dg.asset(
    partitions_def=daily, backfill_policy=one_run, group_name="logs", kinds={"parquet"}, owners=OWNERS, tags=DAILY
)
def raw_logs(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """Trajectories of a day: validated, redacted, deduplicated. Bad rows are quarantined beside them with a reason."""
    warehouse = synde.warehouse
    return each_day(context, lambda day: publish_raw_logs(warehouse, day))
