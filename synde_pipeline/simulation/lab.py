"""One loaded base, its adapters and the memory: everything it takes to let an agent act in the worlds.

Which tasks there are is in `tasks`; what an evaluation makes of the runs, in `acting`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Any

from synde_pipeline.base_model import Base, load
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.models.bank import load_bank, served_rows
from synde_pipeline.models.merge import served_model
from synde_pipeline.models.registry import Served
from synde_pipeline.models.route import Asked
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import Settings
from synde_pipeline.simulation.agent import Agent, Assignment, Routed, Run
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import Known
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.known import memory_at

NOTHING: Mapping[str, Served] = MappingProxyType({})
Route = Callable[[Sequence[Task]], list[int]]
"""Tasks -> index of the adapter of each, -1 for none."""


def nothing(tasks: Sequence[Task]) -> list[int]:
    """No adapter for any task."""
    return [NONE] * len(tasks)


def asked_of(task: Task) -> Asked:
    """What the router is told of a task."""
    return Asked(task.place.world.domain, task.place.scope, task.text)


@dataclass
class Lab:
    """The base of a warehouse, ready to act."""

    warehouse: Warehouse
    settings: Settings
    known: Known | None = None
    """What the memory may know; None for all that lies in the warehouse."""

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
        """The ledger as it is known."""
        return memory_at(self.warehouse, self.settings.memory, self.known)

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
        served: Mapping[str, Served] = NOTHING,
        seed: int = 0,
        label: str = "episodes",
    ) -> list[Run]:
        """Let the agent try tasks.

        Args:
            tasks: in the order in which runs come back.
            memory: what each is shown; None shows nothing.
            served: domain -> what is served there, a bank or a merged model; the base alone where there is none.
            seed: of sampling.
            label: of the progress bar.
        """
        shown = list(memory) if memory is not None else [()] * len(tasks)
        # A merged model acts alone; all banks share the base's forward passes.
        parts: dict[str, list[int]] = defaultdict(list)
        for k, task in enumerate(tasks):
            domain = task.place.world.domain
            parts[domain if domain in served and served[domain].kind != "bank" else ""].append(k)
        runs: dict[int, Run] = {}
        for domain, numbers in parts.items():
            chosen = [(tasks[k], shown[k]) for k in numbers]
            with self._acting(served, domain, seed) as (agent, route):
                routes = route([task for task, _ in chosen])
                done = agent.act([Assignment(*row, index) for row, index in zip(chosen, routes, strict=True)], label)
            runs |= dict(zip(numbers, done, strict=True))
        return [runs[k] for k in range(len(tasks))]

    @contextmanager
    def _acting(self, served: Mapping[str, Served], domain: str, seed: int) -> Iterator[tuple[Agent, Route]]:
        """An agent on the merged model of a domain, or on the base with all banks, and which adapter a task gets."""
        if domain:
            yield self._agent(served_model(self.warehouse, served[domain]), seed), nothing
            return
        rows = [row for one in served.values() for row in served_rows(self.warehouse, one, self.base.hash)]
        if not rows:
            yield self._agent(self.base.model, seed), nothing
            return
        bank = load_bank(self.warehouse, self.base.model, rows, self.settings.models)
        try:
            yield (
                self._agent(self.base.model, seed, bank.adapters.routed),
                lambda tasks: [route.index for route in bank.routes([asked_of(task) for task in tasks])],
            )
        finally:
            bank.adapters.remove()

    def _agent(self, model: Any, seed: int, routed: Routed | None = None) -> Agent:
        return Agent(model, self.base.tokenizer, self.encoder, seed=seed, routed=routed)


@dataclass(frozen=True)
class Timed:
    """Runs and the CPU seconds that they took."""

    runs: Sequence[Run]
    cpu_s: float


def timed(act: Any, *args: Any, **words: Any) -> Timed:
    """Call and clock."""
    started = time.process_time()
    runs = act(*args, **words)
    return Timed(runs, time.process_time() - started)
