"""How memory alone follows conventions that change: an ideal reader of memory in the worlds, no model.

    python -m synde_pipeline.studies.drift_reader SEED...

Seven days of 96 tasks at 24 places; day 4 is the first with half of the conventions changed. The reader calls what
memory recommends, of the rest anything that memory does not warn of and that has not failed in its run. So what is
measured is what memory says; how well a model reads it is another question. A line of JSON for each seed and setting:
success by day, each day with what was known the evening before.
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.records import Delta, MemoryItem, Step, Trajectory
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig, SimulationConfig
from synde_pipeline.simulation.tasks import date_of, tasks_of_day
from synde_pipeline.simulation.worlds.base import ANSWER, Episode, Stage, Task

N_DAYS, DRIFT_DAY = 7, 4
_ITEMS = 6
"""Shown to the reader: as many as a task can need facts."""


def lived(config: SimulationConfig, memory: MemoryConfig, *, n_days: int = N_DAYS) -> list[float]:
    """Live a seed's days; returns the share of tasks that succeeded, by day."""
    deltas: list[Delta] = []
    shares = []
    for day in range(1, n_days + 1):
        tasks = tasks_of_day(config, day)
        about = [Query(t.text, t.place.world.domain, date_of(day - 1), scope=t.place.scope) for t in tasks]
        answers = Memory.of(deltas, memory).recall_many(about, top_k=_ITEMS)
        runs = [act(task, items, config.seed) for task, items in zip(tasks, answers, strict=True)]
        deltas += [delta for run in runs for delta in deltas_of(reflect(run), run.day)]
        shares.append(sum(run.outcome == "success" for run in runs) / len(runs))
    return shares


def act(task: Task, items: Sequence[MemoryItem], seed: int) -> Trajectory:
    """The reader's run of one task."""
    episode, chance = Episode(task, seed=seed), random.Random(f"{seed}:{task.task_id}")  # noqa: S311 - no secret
    said = {item.title: item for item in items if item.place}
    steps: list[Step] = []
    value, state, tried = "", episode.observation, set[str]()
    stages = {stage.tool: stage for stage in task.stages}
    while not episode.is_over:
        tool = state.split()[-1]
        call = (tool, value if tool == ANSWER else _option(stages[tool], said.get(tool), tried, chance))
        reply = episode.act(*call)
        tried = set() if reply.success else tried | ({call[1]} if not reply.result.startswith("timeout") else set())
        value = next((word for word in reply.result.split() if word[:1].isdigit()), value)
        about = {"index": len(steps), "state": state, "result": reply.result, "success": reply.success}
        steps.append(Step(tool=tool, arguments=call[1], **about))
        state = reply.result
    outcome = "success" if episode.is_success else "failure"
    place, ids = task.place, tuple(f"{item.item_id}@{item.version}" for item in items)
    return Trajectory(
        trace_uid=f"sim:{task.task_id}", task_id=task.task_id, domain=place.world.domain, source="sim",
        day=date_of(task.day), scope=place.scope, shown_memory=ids, task=task.text, steps=tuple(steps),
        outcome=outcome, label_source="verifier",
    )  # fmt: skip


def _option(stage: Stage, item: MemoryItem | None, tried: set[str], chance: random.Random) -> str:
    """What to call a stage's tool with: what is recommended, else what nothing speaks against."""
    if item and item.kind == "strategy" and item.content not in tried:
        return item.content
    avoided = set(item.content.split(", ")) if item and item.kind == "pitfall" else set()
    untried = [option for option in stage.options if option not in tried] or list(stage.options)
    return chance.choice([option for option in untried if option not in avoided] or untried)


def rows(seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One row for each setting and seed."""
    for min_tasks, transient_rate in ((1, 0.0), (2, 0.0), (2, 0.15)):
        for seed in seeds:
            config = SimulationConfig(seed=seed, drift_day=DRIFT_DAY, transient_rate=transient_rate)
            found = lived(config, MemoryConfig(embedder="hashing", min_tasks=min_tasks))
            about = {"min_tasks": min_tasks, "transient_rate": transient_rate, "seed": seed}
            yield about | {"success": [round(value, 4) for value in found]}


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("expected: seeds")
    for row in rows([int(word) for word in sys.argv[1:]]):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
