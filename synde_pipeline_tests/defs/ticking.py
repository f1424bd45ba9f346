"""One tick of Dagster's real sensor daemon on a real code server; the only place that touches its private functions.

Run as a program it kills itself in the middle of a tick: `python -m synde_pipeline_tests.defs.ticking RUN_CREATED`.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration

from synde_pipeline.defs.instance import open_instance
from synde_pipeline.settings import load

SENSOR = "cycle_sensor"
KILL_POINTS = ("TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED")
ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """The sensor daemon, moved on by hand: each tick is a minute after the one before."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Any) -> None:
        self.instance = instance
        self._workspace = workspace
        self._now = datetime.now(UTC)

    def tick(self, kill_at: str | None = None) -> None:
        self._now += timedelta(minutes=1)
        with freeze_time(self._now):
            problems = list(
                execute_sensor_iteration(
                    self._workspace,
                    logging.getLogger("synde.tests"),
                    threadpool_executor=None,
                    submit_threadpool_executor=None,
                    debug_crash_flags={SENSOR: {kill_at: signal.SIGKILL}} if kill_at else None,
                )
            )
        assert [problem for problem in problems if problem] == []

    def runs(self) -> list[tuple[str, str]]:
        """(run key, status) of what the sensor requested, oldest first."""
        return [(run.tags["dagster/run_key"], run.status.value) for run in reversed(self.instance.get_runs())]

    def said(self) -> str:
        """Why the newest tick skipped."""
        (state,) = self.instance.all_instigator_state()
        return self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)[0].skip_reason or ""


@contextmanager
def daemon() -> Iterator[Daemon]:
    """The daemon and a code server on the home that the environment names."""
    target = ModuleTarget(
        module_name="synde_pipeline.definitions", attribute=None, working_directory=str(ROOT), location_name="synde"
    )
    with open_instance(load()) as instance, create_test_daemon_workspace_context(target, instance) as workspace:
        yield Daemon(instance, workspace)


def killed_tick(kill_at: str) -> None:
    """A daemon of its own starts a tick and is killed at `kill_at`, its code server with it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "synde_pipeline_tests.defs.ticking", kill_at],
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.wait(timeout=300) == -signal.SIGKILL
    os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    with daemon() as mortal:
        mortal.tick(kill_at=sys.argv[1])
