"""`run`: materialise the landing days that changed and the cycles that are due, in this process."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial, wraps
from typing import Any, ParamSpec, TypeVar

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from synde_pipeline.base_model import pin_given
from synde_pipeline.defs.asking import days_to_go_on, say_price_of_folds, with_what_is_left
from synde_pipeline.defs.audit import memory_audit
from synde_pipeline.defs.automation import (
    CYCLE_ASSETS,
    CYCLE_TAG,
    DAILY_ASSETS,
    FOLDS,
    MAX_ATTEMPTS,
    cycle_job,
    daily_job,
)
from synde_pipeline.defs.checks import CHECKS
from synde_pipeline.defs.instance import fail_dead_runs, open_instance, own_tags
from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.partitions import training_cycles
from synde_pipeline.defs.resources import Synde
from synde_pipeline.errors import LineageError, SyndeError
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.due import due_cycles, is_due
from synde_pipeline.evaluation.unlabelled import labels_of
from synde_pipeline.lineage import check_inputs, fresh_header
from synde_pipeline.logs.daily import is_current
from synde_pipeline.logs.landing import landing_days
from synde_pipeline.memory.daily import fresh_deltas
from synde_pipeline.memory.edits import edit_days
from synde_pipeline.memory.embed import get_embedder, pinned_name
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import RULE
from synde_pipeline.reflection.reflector import rule_hash, uses_llm
from synde_pipeline.removal.remove import resume
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import cycles

Say = Callable[[str], None]
P = ParamSpec("P")
T = TypeVar("T")

# Each daily artefact and the artefacts of the same day that it must have been made from.
CHAIN = {
    "raw_logs": (),
    "reflections": ("raw_logs",),
    "memory_deltas": ("reflections",),
    "curated_memory": ("memory_deltas",),
    "training_examples": ("raw_logs", "reflections"),
}


class RunFailedError(SyndeError):
    """A Dagster run failed; what was published before it stays, the rest was not touched."""


def _says_interrupted(work: Callable[P, T]) -> Callable[P, T]:
    """Ctrl-C between two Dagster runs reads like one inside."""

    @wraps(work)
    def wrapped(*args: P.args, **words: P.kwargs) -> T:
        try:
            return work(*args, **words)
        except KeyboardInterrupt:
            raise _interrupted() from None

    return wrapped


@dataclass
class RunSummary:
    """What a call of `run` did."""

    days: list[date] = field(default_factory=list)
    left_stale: list[date] = field(default_factory=list)
    """Days that wait for calls of a language model, which were switched off."""
    cycles: list[str] = field(default_factory=list)
    dead_runs: int = 0
    report: dict[str, Any] | None = None
    """The latest eval report, None while no cycle is finished."""
    report_path: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    """How many runs carry labels, and how a judge read the others; see `evaluation.unlabelled`."""


@_says_interrupted
def run(
    settings: Settings,
    days: Sequence[date] | None = None,
    say: Say = lambda _: None,
    forced: Sequence[str] = (),
) -> RunSummary:
    """Bring the warehouse up to date with landing.

    Args:
        settings: of the warehouse.
        days: days to materialise; None takes every landing day whose chain is missing or stale.
        say: told once per stage, for progress.
        forced: domains that are trained as soon as one example waits; `buffer.EVERY` stands for all.

    Raises:
        RunFailedError: a Dagster run failed.
        SyndeError: the base or the embedder cannot be used; nothing was started.
    """
    warehouse = Warehouse(settings.warehouse)
    resume(warehouse, say)
    pin_given(warehouse, settings)
    get_embedder(settings.memory.embedder, settings.llm)
    summary = RunSummary()
    with open_instance(settings) as instance:
        materialize = partial(_materialize, instance, settings)
        summary.dead_runs = fail_dead_runs(instance)
        summary.days = sorted(days) if days is not None else stale_days(warehouse, settings)
        for day in outside(warehouse, settings.start_day):
            say(f"{day}: outside the daily partitions, left in landing; set SYNDE_START_DAY, or check the day")
        if uses_llm(settings.reflection):
            for span in _spans(summary.days):
                materialize([raw_logs], tags=span)
            going = days_to_go_on(warehouse, settings, summary.days, say)
            summary.left_stale = sorted(set(summary.days) - set(going))
            summary.days = going
        llm_settings = settings
        for span in _spans(summary.days):
            say(f"{' to '.join(span.values())}: raw logs, reflections, memory, training examples")
            done = _materialize(instance, llm_settings, DAILY_ASSETS, tags=span)
            llm_settings = with_what_is_left(llm_settings, done)
        say("notes, training buffer")
        say_price_of_folds(warehouse, llm_settings, say)
        done = _materialize(instance, llm_settings, FOLDS, tags={}, forced=forced)
        materialize = partial(_materialize, instance, with_what_is_left(llm_settings, done))
        while due := due_cycles(warehouse):
            cycle = due[0]
            say(f"cycle {cycle.key}: base, shard, adapter, merged model, eval report")
            instance.add_dynamic_partitions(str(training_cycles.name), [cycle.key])
            materialize(CYCLE_ASSETS, tags={CYCLE_TAG: cycle.key}, partition_key=cycle.key)
            summary.cycles.append(cycle.key)
            # Once or twice another process may have moved the champion meanwhile.
            if summary.cycles.count(cycle.key) >= MAX_ATTEMPTS and is_due(warehouse, cycle):
                raise RunFailedError(f"cycle {cycle.key} is due again after it ran", remedy="report this as a bug")
    summary.report, summary.report_path = latest_report(warehouse)
    summary.labels = labels_of(warehouse)
    return summary


def outside(warehouse: Warehouse, start_day: date) -> list[date]:
    """Landing days that no daily partition covers."""
    today = datetime.now(UTC).date()
    return [day for day in landing_days(warehouse) if not start_day <= day <= today]


def stale_days(warehouse: Warehouse, settings: Settings) -> list[date]:
    """Days of logs or edits whose raw logs, or anything made from them, are missing or were made from other inputs."""
    days = {*landing_days(warehouse), *edit_days(warehouse)}
    inside = days - set(outside(warehouse, settings.start_day))
    return [day for day in sorted(inside) if not _is_fresh(warehouse, day, settings)]


def _is_fresh(warehouse: Warehouse, day: date, settings: Settings) -> bool:
    if not is_current(warehouse, day):
        return False
    try:
        for artefact, upstream in CHAIN.items():
            header = fresh_header(warehouse, artefact, str(day), dict.fromkeys(upstream, str(day)))
            if artefact == REFLECTIONS:
                check_inputs(header, {RULE: rule_hash(settings)})
        fresh_deltas(warehouse, day)
    except LineageError:
        return False
    memory = warehouse.header("curated_memory", str(day))
    return memory is not None and memory.info["embedder"] == pinned_name(settings.memory.embedder)


def blocks(days: Iterable[date]) -> list[tuple[date, date]]:
    """Unbroken ranges of days, each of which one run can loop over."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and found[-1][1] + timedelta(days=1) == day:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _spans(days: Iterable[date]) -> list[dict[str, str]]:
    """Tags of one Dagster run for each unbroken range of days."""
    names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [dict(zip(names, map(str, block), strict=True)) for block in blocks(days)]


def latest_report(warehouse: Warehouse) -> tuple[dict[str, Any] | None, str | None]:
    """The eval report of the newest finished cycle, and the path of its page."""
    for cycle in reversed(cycles(warehouse)):
        if warehouse.header(REPORTS, cycle.key):
            folder = warehouse.folder(REPORTS, cycle.key)
            return read_json(folder / "report.json"), str((folder / "report.html").resolve())
    return None, None


@cache
def _jobs() -> dg.Definitions:
    """The jobs of the automation, so that these runs bear their names in the UI and can be started again there."""
    return dg.Definitions(
        assets=[*DAILY_ASSETS, *FOLDS, *CYCLE_ASSETS, memory_audit],
        asset_checks=CHECKS,
        jobs=[daily_job, cycle_job],
        resources={"synde": Synde()},
        executor=dg.in_process_executor,
    )


def _materialize(
    instance: dg.DagsterInstance, settings: Settings, chosen: Sequence[Any], **where: Any
) -> dg.ExecuteInProcessResult:
    """One Dagster run of the chosen assets and their checks, in this process.

    Raises:
        RunFailedError: a step failed, a check found a law broken, or the user interrupted it.
    """
    tags = {**where.pop("tags", {}), **own_tags()}
    given = {"overrides": settings.model_dump(mode="json"), "train_now": list(where.pop("forced", ()))}
    job = _jobs().resolve_job_def((cycle_job if chosen is CYCLE_ASSETS else daily_job).name)
    try:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[key for asset in chosen for key in asset.keys],
            tags=tags,
            raise_on_error=False,
            run_config={
                "resources": {"synde": {"config": given}},
                # The caller prints the error itself: Dagster's console log would be a traceback.
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            **where,
        )
    except DagsterExecutionInterruptedError as stop:
        raise _interrupted() from stop
    if not result.success:
        raise _failure(result)
    found = [check for check in result.get_asset_check_evaluations() if not check.passed]
    broken = [check for check in found if check.severity == dg.AssetCheckSeverity.ERROR]  # others only warn
    if broken:
        said = {name: value.value for name, value in broken[0].metadata.items()}
        raise RunFailedError(f"asset check {broken[0].check_name} failed: {said}", remedy="see the check in the UI")
    return result


def _failure(result: dg.ExecuteInProcessResult) -> RunFailedError:
    """The first failed step's own error, without Dagster's wrapping."""
    failure = next((event for event in result.all_events if event.is_step_failure), None)
    if failure is None:
        # Ctrl-C between two steps leaves no failed step; neither does a resource that cannot start.
        return RunFailedError(
            "interrupted between steps", remedy=f"run again to go on; Dagster run {result.run_id} has the details"
        )
    error = failure.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return RunFailedError(f"{failure.step_key} failed", remedy=f"Dagster run {result.run_id} has the details")
    if error.cls_name == DagsterExecutionInterruptedError.__name__:
        return _interrupted()
    return RunFailedError(
        f"{failure.step_key} failed: {error.message.strip()}", remedy=f"Dagster run {result.run_id} has the details"
    )


def _interrupted() -> RunFailedError:
    return RunFailedError("interrupted", remedy="what was published is whole: run the same command again to go on")
