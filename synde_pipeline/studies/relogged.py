"""A laboratory's logs told differently: what memory and adapters learn from them, and how the agent then acts.

For studies of what a log must hold, how much of it may be wrong, and which runs are worth learning from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig, TrainingConfig
from synde_pipeline.studies.learning import adapters_of, training
from synde_pipeline.studies.paired import Arms
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import ITEMS, Cells, Way, acted, tried
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.examples import examples_of
from synde_pipeline.training.known import trajectories_at
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow, pack

Change = Callable[[Trajectory], Trajectory | None]
"""A run told differently; None leaves it out."""
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


def told(run: StudyRun, tellings: Mapping[str, Change]) -> dict[str, list[Arms]]:
    """Learn from every telling, and act by memory, by weights and by both."""
    config = training(run)

    def way(change: Change) -> Way:
        return lambda mine: by_layer(mine, relog(mine, changed(train_runs(mine), change), config), config)

    return tried(run, {name: way(change) for name, change in tellings.items()})


def by_layer(mine: Laboratory, learned: Relogged, config: TrainingConfig) -> Arms:
    """Act by memory, by weights and by both."""
    queries = [
        Query(task.text, task.place.world.domain, mine.last_day, task.task_id, task.place.scope) for task in mine.tasks
    ]
    shown = [tuple(items) for items in learned.memory.recall_many(queries, top_k=ITEMS)]
    with_weights: Cells = {"weights": (mine.tasks, None), "dual": (mine.tasks, shown)}
    adapters = adapters_from(mine, learned, config)
    return {**acted(mine, {"context": (mine.tasks, shown)}), **acted(mine, with_weights, adapters)}


def adapters_from(mine: Laboratory, learned: Relogged, config: TrainingConfig) -> dict[str, AdapterWeights]:
    """One adapter a domain that has anything to learn from."""
    taught: dict[str, list[ShardRow]] = {}
    for uid, rows in learned.rows.items():
        taught.setdefault(learned.domains[uid], []).extend(rows)
    return adapters_of(mine.lab.base.model, {name: rows for name, rows in sorted(taught.items()) if rows}, config)
