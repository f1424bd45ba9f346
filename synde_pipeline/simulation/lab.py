"""One loaded base, its adapters and the memory: everything it takes to let an agent act in the worlds.

Which tasks there are is in `tasks`; what an evaluation makes of the runs, in `acting`.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from synde_pipeline.base_model import Base, load
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.models.bank import BankRow, load_bank
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import Settings
from synde_pipeline.simulation.agent import Agent, Assignment, Routed, Run
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import Warehouse


@dataclass
class Lab:
    """The base of a warehouse, ready to act."""

    warehouse: Warehouse
    settings: Settings

    @cached_property
    def base(self) -> Base:
        """The pinned base, loaded once."""
        return load(self.warehouse)

    @cached_property
    def encoder(self) -> PromptEncoder:
        """Prompt layout of the base's tokenizer."""
        return PromptEncoder(self.base.tokenizer, self.settings.prompt)

    @cached_property
    def memory(self) -> Memory:
        """The ledger as it lies in the warehouse now."""
        return Memory.load(self.warehouse, self.settings.memory)

    def recall(self, tasks: Sequence[Task], as_of: date, top_k: int | None = None) -> list[tuple[MemoryItem, ...]]:
        """The memory items that each task is shown, known as of a day and learned from other tasks."""
        queries = [
            Query(task.text, task.place.world.domain, as_of, without_task=task.task_id, scope=task.place.scope)
            for task in tasks
        ]
        return [tuple(items) for items in self.memory.recall_many(queries, top_k=top_k)]

    def act(
        self,
        tasks: Sequence[Task],
        *,
        memory: Iterable[tuple[MemoryItem, ...]] | None = None,
        bank: Sequence[BankRow] = (),
        seed: int = 0,
        label: str = "episodes",
    ) -> list[Run]:
        """Let the agent try tasks.

        Args:
            tasks: in the order in which runs come back.
            memory: what each is shown; None shows nothing.
            bank: adapters, each for its scopes; other scopes, or none given, act with the base alone.
            seed: of sampling.
            label: of the progress bar.
        """
        shown = list(memory) if memory is not None else [()] * len(tasks)
        if not bank:
            return self._agent(seed).act([Assignment(*row) for row in zip(tasks, shown, strict=True)], label)
        loaded = load_bank(self.warehouse, self.base.model, bank)
        try:
            routes = [loaded.route(task.place.world.domain, task.place.scope) for task in tasks]
            assignments = [Assignment(*row) for row in zip(tasks, shown, routes, strict=True)]
            return self._agent(seed, loaded.adapters.routed).act(assignments, label)
        finally:
            loaded.adapters.remove()

    def _agent(self, seed: int, routed: Routed | None = None) -> Agent:
        return Agent(self.base.model, self.base.tokenizer, self.encoder, seed=seed, routed=routed)


@dataclass(frozen=True)
class Timed:
    """Runs and the CPU seconds that they took."""

    runs: list[Run]
    cpu_s: float


def timed(act: Any, *args: Any, **words: Any) -> Timed:
    """Call and clock."""
    started = time.process_time()
    runs = act(*args, **words)
    return Timed(runs, time.process_time() - started)
