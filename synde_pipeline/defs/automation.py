"""What starts by itself: the daily chain, and the training of frozen cycles."""

from datetime import timedelta
from itertools import takewhile

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from synde_pipeline.defs.audit import memory_audit
from synde_pipeline.defs.contrasts import trial_contrasts
from synde_pipeline.defs.evaluation import eval_reports, promoted_model
from synde_pipeline.defs.instance import fail_dead_runs
from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.memory import curated_memory, memory_deltas
from synde_pipeline.defs.models import adapters, merged_models
from synde_pipeline.defs.notes import notes
from synde_pipeline.defs.partitions import daily, training_cycles
from synde_pipeline.defs.reflection import reflections
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.training import base_model, training_buffer, training_examples, training_shards
from synde_pipeline.errors import RemovalError
from synde_pipeline.evaluation.due import due_cycles

CYCLE_TAG = "synde/cycle"
MAX_ATTEMPTS = 3
"""Failed or cancelled runs after which a cycle waits for a person."""

DAILY_ASSETS = [raw_logs, reflections, memory_deltas, curated_memory, training_examples]
FOLDS = [trial_contrasts, notes, training_buffer]
"""What looks at all days at once, at the end of the daily chain."""
CYCLE_ASSETS = [base_model, training_shards, adapters, merged_models, eval_reports, promoted_model]

_RUNNING = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]

daily_job = dg.define_asset_job(
    "daily_chain",
    selection=dg.AssetSelection.assets(*DAILY_ASSETS, *FOLDS, memory_audit),
    partitions_def=daily,
    description="A day's logs to memory, notes and examples; freezes training cycles at its end, audits the memory.",
)

cycle_job = dg.define_asset_job(
    "training_cycle",
    selection=dg.AssetSelection.assets(*CYCLE_ASSETS),
    partitions_def=training_cycles,
    description="One training cycle: shard, adapter, merged model, eval report, the gate's decision.",
)


@dg.schedule(
    job=daily_job,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Takes up yesterday's logs, half an hour after midnight UTC.",
)
def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Yesterday's chain."""
    day = (context.scheduled_execution_time - timedelta(days=1)).date().isoformat()
    return dg.RunRequest(run_key=day, partition_key=day)


@dg.sensor(
    job=cycle_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Trains the oldest frozen cycle that is not finished, one at a time; after three failures it waits.",
)
def cycle_sensor(context: dg.SensorEvaluationContext, synde: Synde) -> dg.SensorResult | dg.SkipReason:
    """Starts the oldest due cycle, one at a time.

    Level-triggered, and it writes nothing to the warehouse: it looks at frozen manifests and finished reports, so a
    lost tick, a doubled tick or a preview changes nothing there. The run key counts the cycle's ended runs, because
    Dagster never reuses a key. Runs of dead processes are failed on sight: they would hold the pool's slot for ever.
    """
    fail_dead_runs(context.instance)
    try:
        due = due_cycles(synde.warehouse)
    except RemovalError as error:
        return dg.SkipReason(str(error))
    if not due:
        return dg.SkipReason("no frozen cycle waits for training")
    running = context.instance.get_runs(RunsFilter(statuses=_RUNNING))
    if busy := next((run for run in running if CYCLE_TAG in run.tags), None):
        return dg.SkipReason(f"cycle {busy.tags[CYCLE_TAG]} is running")
    key = due[0].key
    ended = context.instance.get_runs(RunsFilter(tags={CYCLE_TAG: key}, statuses=_ENDED))  # newest first
    in_vain = sum(1 for _ in takewhile(lambda run: run.status != DagsterRunStatus.SUCCESS, ended))
    if in_vain >= MAX_ATTEMPTS:
        return dg.SkipReason(f"cycle {key} ended without success {in_vain} times; mend the cause and run it by hand")
    request = dg.RunRequest(run_key=f"{key}/{len(ended)}", partition_key=key, tags={CYCLE_TAG: key})
    return dg.SensorResult(
        run_requests=[request], dynamic_partitions_requests=[training_cycles.build_add_request([key])]
    )
