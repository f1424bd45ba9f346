"""Dagster's instance for the command line: same history as the UI, and no run of a dead process left running."""

import os
import socket
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from synde_pipeline.settings import Settings
from synde_pipeline.storage import write_atomically

PID_TAG, HOST_TAG = "synde/pid", "synde/host"
_UNDER_WAY = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]

_YAML = """\
# Written by SynDE; the checkout's dagster.yaml with this folder's paths.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
storage: {{sqlite: {{base_dir: {home}}}}}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {{base_dir: {home}}}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {{base_dir: {home}/logs}}
concurrency:
  runs: {{max_concurrent_runs: 2}}
  pools: {{default_limit: 1, granularity: run}}
run_monitoring: {{enabled: true, free_slots_after_run_end_seconds: 30}}
"""


def write_instance_config(settings: Settings) -> Path:
    """Write `dagster.yaml` into the Dagster home of these settings; returns the folder, for `DAGSTER_HOME`."""
    home = settings.dagster_home.resolve()
    text = _YAML.format(home=home)
    path = home / "dagster.yaml"
    if not path.exists() or path.read_text("utf-8") != text:
        write_atomically(path, text)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance that the UI of the same home shows."""
    return dg.DagsterInstance.from_config(str(write_instance_config(settings)))


def count_runs(settings: Settings) -> int:
    """Runs in the history of these settings."""
    with open_instance(settings) as instance:
        return instance.get_runs_count()


def own_tags() -> dict[str, str]:
    """Tags that name this process in a run."""
    return {PID_TAG: str(os.getpid()), HOST_TAG: socket.gethostname()}


def fail_dead_runs(instance: dg.DagsterInstance) -> int:
    """Fail runs of this host's dead processes, which no monitor would notice; returns how many."""
    mine = {HOST_TAG: socket.gethostname()}
    dead = 0
    for run in instance.get_runs(RunsFilter(tags=mine, statuses=_UNDER_WAY)):
        if _is_alive(int(run.tags[PID_TAG])) or _inherits_its_tags(instance, run):
            continue
        now = instance.get_run_by_id(run.run_id)  # it may have ended well since: read after its process was seen dead
        if now is not None and now.status in _UNDER_WAY:
            instance.report_run_failed(now, "its process is gone")
            dead += 1
    return dead


def _inherits_its_tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a re-executed run still carries its parent's process, because its own has not said its name yet."""
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return parent is not None and parent.tags.get(PID_TAG) == run.tags[PID_TAG]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
