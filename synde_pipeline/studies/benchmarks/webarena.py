"""WebArena's task configs (Zhou et al. 2023) as a task set, grouped by intent template for leave-template-out.

Its `eval` part is ground truth and is not read.
"""

import json
from pathlib import Path

from pydantic import BaseModel, Field, TypeAdapter

from synde_pipeline.errors import InputError
from synde_pipeline.studies.benchmarks.task_set import Task, TaskSet

DOMAIN = "web"


class _Config(BaseModel):
    task_id: int
    sites: tuple[str, ...] = Field(min_length=1)
    intent: str
    intent_template_id: int


def read_tasks(path: Path) -> TaskSet:
    """Read a file of task configs; a task on several sites has their names, sorted, as its scope.

    Raises:
        InputError: the file cannot be read, or holds anything but task configs.
    """
    try:
        rows = TypeAdapter(list[_Config]).validate_python(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        raise InputError(
            f"{path} holds no WebArena task configs ({type(error).__name__})",
            expected="a JSON list of objects with task_id, sites, intent and intent_template_id",
            remedy="set SYNDE_WEBARENA to config_files/test.raw.json",
        ) from error
    tasks = [
        Task(
            task_id=f"webarena:{DOMAIN}:{row.task_id}",
            text=row.intent,
            group=f"template-{row.intent_template_id}",
            scope=f"site:{'+'.join(sorted(set(row.sites)))}",
        )
        for row in rows
    ]
    return TaskSet(name="webarena", tasks=tuple(tasks))
