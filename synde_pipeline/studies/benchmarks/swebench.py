"""SWE-bench: outcomes of a report joined to the trajectories beside it, by the instance's id.

A run that handed in a patch is no success: only the report knows. Reports of both layouts are read: lists named
`resolved_ids`, `unresolved_ids`, ... and the older `resolved`, `applied`, `generated`, ....
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.records import Outcome, Trajectory
from synde_pipeline.studies.benchmarks.task_set import Task, TaskSet

DOMAIN = "software"
_INSTANCE = re.compile(r"[A-Za-z0-9_.-]+__[A-Za-z0-9_.-]+-\d+")
_SUCCESS = ("resolved_ids", "resolved")
_FAILURE = ("unresolved_ids", "error_ids", "empty_patch_ids", "no_generation", "no_apply", "generated", "applied")
_UNKNOWN = ("incomplete_ids", "submitted_ids", "completed_ids")
_TRAJECTORIES = (".traj", ".traj.json", ".jsonl")
_MOST_BYTES = 64 * 2**20


def outcomes(report: Any) -> dict[str, Outcome] | None:
    """Instance -> how it went, by a report; None for what is no report. Ids that it only lists as due are unknown.

    Raises:
        InputError: an instance is both resolved and not.
    """
    if not isinstance(report, dict) or not any(isinstance(report.get(name), list) for name in _SUCCESS):
        return None
    solved, failed, due = (_ids(report, names) for names in (_SUCCESS, _FAILURE, _UNKNOWN))
    # The older layout lists every patch that was generated and applied, resolved or not.
    contradicted = solved & _ids(report, ("unresolved_ids", "error_ids", "empty_patch_ids"))
    if contradicted:
        raise InputError(
            f"a SWE-bench report calls {min(contradicted)} resolved and not", expected="one outcome an instance"
        )
    found: dict[str, Outcome] = dict.fromkeys(sorted(due), "unknown")
    found |= dict.fromkeys(sorted(failed - solved), "failure")
    found |= dict.fromkeys(sorted(solved), "success")
    return found


def _ids(report: dict[str, Any], names: Iterable[str]) -> set[str]:
    listed = (report.get(name) for name in names)
    return {item for part in listed if isinstance(part, list) for item in part if isinstance(item, str)}


def instances(folder: Path) -> set[str]:
    """Ids of the instances that trajectories lie in a folder of: by file name, by `instance_id` for JSON lines."""
    found = set()
    for path in sorted(folder.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not path.is_file() or not name.endswith(_TRAJECTORIES):
            continue
        if name.endswith(".jsonl"):
            found |= set(_of_lines(path))
        elif match := _INSTANCE.match(name):
            found.add(match[0])
    return found


def _of_lines(path: Path) -> Iterator[str]:
    for line in _text(path).splitlines():
        row = json.loads(line) if line.strip() else None
        if isinstance(row, dict) and isinstance(row.get("instance_id"), str):
            yield row["instance_id"]


def _text(path: Path) -> str:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path} is larger than {_MOST_BYTES} bytes", remedy="split it")
    return data.decode("utf-8")


def read_tasks(folder: Path) -> TaskSet:
    """The instances that have a trajectory, with the outcome of the report at the top of the folder.

    An instance that the report does not decide is of unknown outcome.

    Raises:
        InputError: there is no report or more than one, it contradicts itself, or there are no trajectories.
    """
    try:
        reports = [found for path in sorted(folder.glob("*.json")) if (found := outcomes(json.loads(_text(path))))]
        ids = instances(folder)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} cannot be read as SWE-bench runs ({type(error).__name__})", remedy="see SYNDE_SWEBENCH"
        ) from error
    if len(reports) != 1 or not ids:
        raise InputError(
            f"{folder} holds {len(reports)} SWE-bench reports and trajectories of {len(ids)} instances",
            expected="one report (JSON with resolved ids) at its top, trajectories anywhere below",
            remedy="set SYNDE_SWEBENCH to the folder of one evaluation",
        )
    tasks = [
        Task(
            task_id=f"swebench:{DOMAIN}:{name}",
            text="",
            scope=f"repository:{_repository(name)}",
            outcome=reports[0].get(name, "unknown"),
        )
        for name in sorted(ids)
    ]
    return TaskSet(name="swebench", tasks=tuple(tasks))


def labelled(trajectory: Trajectory, tasks: TaskSet) -> Trajectory:
    """A run with the outcome that the report gives its instance, found by the last part of its task id.

    What the report does not decide keeps the outcome that it has.
    """
    by_instance = {task.task_id.rsplit(":", 1)[1]: task.outcome for task in tasks.tasks}
    outcome = by_instance.get(trajectory.task_id.rsplit(":", 1)[1], "unknown")
    if outcome == "unknown":
        return trajectory
    reward = float(outcome == "success")
    return trajectory.model_copy(update={"outcome": outcome, "label_source": "verifier", "reward": reward})


def _repository(instance: str) -> str:
    """`django/django` of `django__django-11001`."""
    return instance.rsplit("-", 1)[0].replace("__", "/")
