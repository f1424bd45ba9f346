"""A laboratory's logs told differently: what memory and adapters learn from them, and how the agent then acts.

For studies of what a log must hold, how much of it may be wrong, and which runs are worth learning from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig, TrainingConfig
from synde_pipeline.studies.trials import act, adapters_of, as_json
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.examples import examples_of
from synde_pipeline.training.known import trajectories_at
from synde_pipeline.training.shards import ShardRow, pack

Change = Callable[[Trajectory], Trajectory | None]
"""A run told differently; None leaves it out."""
ITEMS = 3
CELLS = ("context", "weights", "dual")


@dataclass(frozen=True)
class Relogged:
    """What was learned from changed logs."""

    memory: Memory
    rows: dict[str, list[ShardRow]]
    """Trajectory -> its training sequences."""
    domains: dict[str, str]
    """Trajectory -> domain."""


def train_runs(laboratory: Laboratory) -> list[Trajectory]:
    """The runs that anything may be learned from, in the order of their ids."""
    found = trajectories_at(laboratory.lab.warehouse, None)
    return sorted((run for run in found if split_of(run.task_id) == "train"), key=lambda run: run.trace_uid)


def relog(
    laboratory: Laboratory, runs: Iterable[Trajectory], config: TrainingConfig, memory: MemoryConfig | None = None
) -> Relogged:
    """Reflect, fold and pack runs, by the rules, as the pipeline does.

    Args:
        laboratory: its base's prompts and its settings.
        runs: as they are told.
        config: how sequences are made.
        memory: how the memory is folded; None takes the laboratory's.
    """
    kept = list(runs)
    read = [(run, reflect(run)) for run in kept]
    deltas = [delta for run, reflection in read for delta in deltas_of(reflection, run.day)]
    held = Memory.of(deltas, memory or laboratory.lab.settings.memory)
    examples = [row for run, reflection in read for row in examples_of(run, reflection, config)]
    rows = pack(examples, held, laboratory.lab.encoder, config)
    return Relogged(held, rows, {run.trace_uid: run.domain for run in kept})


def changed(runs: Sequence[Trajectory], change: Change) -> list[Trajectory]:
    """Every run told differently."""
    return [told for run in runs if (told := change(run)) is not None]


def acted(
    laboratory: Laboratory, learned: Relogged, config: TrainingConfig, cells: Sequence[str] = CELLS
) -> dict[str, Any]:
    """Train one adapter a domain, and let the agent act by memory, by weights and by both."""
    with one_thread():
        by_domain: dict[str, list[ShardRow]] = {}
        for uid, rows in learned.rows.items():
            by_domain.setdefault(learned.domains[uid], []).extend(rows)
        taught = {domain: rows for domain, rows in sorted(by_domain.items()) if rows}
        adapters: list[Any] = []
        if set(cells) & {"weights", "dual"} and taught:
            adapters = adapters_of(laboratory.lab.base.model, list(taught.values()), config)
        order = {domain: k for k, domain in enumerate(taught)} if adapters else {}
        routed = (adapters, [order.get(task.place.world.domain, -1) for task in laboratory.tasks])
        queries = [
            Query(task.text, task.place.world.domain, laboratory.last_day, task.task_id, task.place.scope)
            for task in laboratory.tasks
        ]
        shown = [tuple(items) for items in learned.memory.recall_many(queries, top_k=ITEMS)]
        words: dict[str, dict[str, Any]] = {
            "none": {},
            "context": {"items": shown},
            "weights": {"adapters": routed},
            "dual": {"items": shown, "adapters": routed},
        }
        return {cell: as_json(act(laboratory, laboratory.tasks, **words[cell])) for cell in cells}
