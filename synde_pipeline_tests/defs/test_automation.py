"""What starts by itself: each frozen cycle once, whatever happens to ticks and runs, and yesterday's chain."""

import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from synde_pipeline.defs.automation import CYCLE_TAG, MAX_ATTEMPTS, cycle_sensor, daily_schedule
from synde_pipeline.defs.instance import PID_TAG, fail_dead_runs, open_instance, own_tags
from synde_pipeline.defs.partitions import daily, training_cycles
from synde_pipeline.defs.resources import Synde
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.settings import load
from synde_pipeline.storage import write_atomically
from synde_pipeline_tests.defs.small import freeze_two_cycles, listing
from synde_pipeline_tests.defs.ticking import KILL_POINTS, ROOT, daemon, killed_tick

OLDEST, NEXT = "archive-0001", "library-0001"


@dg.asset
def works() -> None:
    """Stands for a training cycle that ends well."""


@dg.asset
def breaks() -> None:
    """Stands for a training cycle that fails."""
    raise RuntimeError("out of memory")


@dg.job
def cycle_job_like() -> None:
    """Stands for the job of a training cycle."""


@pytest.fixture
def frozen(warehouse):
    return [cycle.key for cycle in freeze_two_cycles(warehouse)]


@pytest.fixture
def instance(home):
    with open_instance(load()) as opened:
        yield opened


def _evaluate(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, resources={"synde": Synde()}) as context:
        return cycle_sensor(context)


def _request(instance: dg.DagsterInstance) -> dg.RunRequest:
    result = _evaluate(instance)
    assert isinstance(result, dg.SensorResult), result
    (request,) = result.run_requests
    return request


def _run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance, key: str, run_key: str) -> None:
    tags = {CYCLE_TAG: key, "dagster/run_key": run_key}
    dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)


def test_without_a_frozen_cycle_nothing_starts(instance):
    assert "no frozen cycle" in _evaluate(instance).skip_message


def test_the_oldest_frozen_cycle_is_requested_alone(frozen, instance):
    assert frozen == [OLDEST, NEXT]
    request = _request(instance)
    assert (request.run_key, request.partition_key, request.tags) == (f"{OLDEST}/0", OLDEST, {CYCLE_TAG: OLDEST})
    (added,) = _evaluate(instance).dynamic_partitions_requests
    assert (added.partitions_def_name, list(added.partition_keys)) == (training_cycles.name, [OLDEST])


def test_looking_at_the_sensor_writes_nothing(frozen, warehouse, instance):
    before = listing(warehouse.root)
    assert _request(instance) == _request(instance)
    assert listing(warehouse.root) == before
    assert instance.get_dynamic_partitions(str(training_cycles.name)) == []
    assert instance.get_runs() == []


def test_nothing_starts_while_a_removal_is_under_way(frozen, warehouse, instance):
    write_atomically(active_path(warehouse), '{"number": 7}')
    assert "removal 0007 of this warehouse is not finished" in _evaluate(instance).skip_message
    assert isinstance(_evaluate(instance), dg.SkipReason)
    active_path(warehouse).unlink()
    assert _request(instance).partition_key == OLDEST


def test_a_cancelled_run_does_not_hold_back_later_cycles_for_ever(frozen, instance):
    run = instance.create_run_for_job(cycle_job_like, tags={CYCLE_TAG: OLDEST, "dagster/run_key": f"{OLDEST}/0"})
    instance.report_run_canceled(run)
    assert _request(instance).run_key == f"{OLDEST}/1"
    _run(works, instance, OLDEST, f"{OLDEST}/1")  # a success in between: only what ended in vain since counts
    assert _request(instance).run_key == f"{OLDEST}/2"


def test_a_failed_run_is_tried_again_under_a_new_key_until_a_person_is_asked(frozen, instance):
    for attempt in range(MAX_ATTEMPTS):
        assert _request(instance).run_key == f"{OLDEST}/{attempt}"
        _run(breaks, instance, OLDEST, f"{OLDEST}/{attempt}")
    skipped = _evaluate(instance)
    assert isinstance(skipped, dg.SkipReason)
    assert f"{OLDEST} ended without success {MAX_ATTEMPTS} times" in skipped.skip_message
    assert "mend the cause and run it by hand" in skipped.skip_message


def test_a_cycle_that_is_due_again_after_a_success_gets_a_key_dagster_has_not_seen(frozen, instance):
    """For example its merged model was rebuilt by hand: Dagster would drop a request under a used key for ever."""
    first = _request(instance).run_key
    _run(works, instance, OLDEST, first)
    assert _request(instance).run_key != first


def test_a_run_whose_process_was_killed_is_failed_on_sight_and_tried_again(frozen, instance):
    code = f"""
import os, signal
import dagster as dg
from synde_pipeline.defs.instance import PID_TAG, fail_dead_runs, open_instance, own_tags
from synde_pipeline.defs.resources import Synde
from synde_pipeline.settings import load

@dg.asset
def dies(synde: Synde) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

with open_instance(load()) as instance:
    dg.materialize([dies], instance=instance, tags={{"{CYCLE_TAG}": "{OLDEST}"}}, resources={{"synde": Synde()}})
"""
    killed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
    assert _request(instance).run_key == f"{OLDEST}/1"
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@dg.op
def look_for_dead_runs(context: dg.OpExecutionContext) -> None:
    context.instance.add_run_tags(context.run_id, {"found": str(fail_dead_runs(context.instance))})


@dg.job
def looking() -> None:
    look_for_dead_runs()


def test_a_run_that_is_executed_again_is_not_taken_for_its_dead_parent(instance):
    """Dagster copies the parent's tags, among them the process that it ran in."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    first = dg.execute_job(dg.reconstructable(looking), instance=instance)
    instance.add_run_tags(first.run_id, own_tags() | {PID_TAG: str(gone.pid)})
    tags = instance.get_run_by_id(first.run_id).tags
    again = dg.ReexecutionOptions(parent_run_id=first.run_id)
    second = dg.execute_job(dg.reconstructable(looking), instance=instance, tags=tags, reexecution_options=again)
    assert (second.success, instance.get_run_by_id(second.run_id).tags["found"]) == (True, "0")


def test_the_daily_schedule_asks_for_yesterday():
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2025, 3, 1, 0, 30, tzinfo=UTC))
    request = daily_schedule(context)
    assert (request.run_key, request.partition_key) == ("2025-02-28", "2025-02-28")
    assert daily.has_partition_key("2025-02-28")


def test_today_is_a_partition_because_logs_land_all_day():
    assert daily.get_last_partition_key() >= str(date.today())


def test_the_daemon_starts_a_cycle_once_however_often_it_ticks(frozen):
    with daemon() as ticking:
        ticking.tick()
        assert ticking.runs() == [(f"{OLDEST}/0", "QUEUED")]
        ticking.tick()
        assert ticking.runs() == [(f"{OLDEST}/0", "QUEUED")]
        assert f"cycle {OLDEST} is running" in ticking.said()
        assert ticking.instance.get_dynamic_partitions(str(training_cycles.name)) == [OLDEST]


def test_the_daemon_tries_a_failed_or_cancelled_cycle_again_and_gives_up_in_the_end(frozen):
    with daemon() as ticking:
        for attempt in range(MAX_ATTEMPTS):
            ticking.tick()
            ticking.tick()
            assert len(ticking.runs()) == attempt + 1
            (run,) = ticking.instance.get_runs(limit=1)
            assert run.tags["dagster/run_key"] == f"{OLDEST}/{attempt}"
            end = ticking.instance.report_run_canceled if attempt == 1 else ticking.instance.report_run_failed
            end(run)
        ticking.tick()
        assert [status for _, status in ticking.runs()] == ["FAILURE", "CANCELED", "FAILURE"]
        assert "mend the cause and run it by hand" in ticking.said()


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", KILL_POINTS)
def test_a_daemon_killed_in_the_middle_of_a_tick_still_starts_the_cycle_once(kill_at, frozen):
    killed_tick(kill_at)
    with daemon() as ticking:
        ticking.tick()
        ticking.tick()
        assert ticking.runs() == [(f"{OLDEST}/0", "QUEUED")]
