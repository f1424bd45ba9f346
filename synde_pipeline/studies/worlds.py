"""A lived laboratory as studies see it: its memory, tasks that no day handed out, and its adapters and who gets them.

All tasks are of the split `report`, on places that the agent knows. Nothing in the laboratory is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from synde_pipeline.base_model import Base
from synde_pipeline.models.bank import champion_bank
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import Settings, SimulationConfig, TrainingConfig
from synde_pipeline.simulation.acting import success_of, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.lab import Lab, Timed
from synde_pipeline.simulation.loop import DAYS
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.lora import AdapterWeights, read
from synde_pipeline.training.shards import ShardRow, build_shard

N_TASKS = 480


@dataclass(eq=False)
class Laboratory:
    """One laboratory, its held-out tasks and its adapters. Equal to itself alone: what it teaches can be cached."""

    lab: Lab
    tasks: list[Task]
    last_day: date
    adapters: list[AdapterWeights]
    routes: list[int]
    """Index of each task's adapter, -1 for none."""

    @classmethod
    def open(cls, settings: Settings, n_tasks: int = N_TASKS) -> "Laboratory":
        """Load the laboratory that these settings name."""
        warehouse = Warehouse(settings.warehouse)
        lab = Lab(warehouse, settings)
        config = settings.simulation
        assert config is not None  # noqa: S101 - a home of the demo
        last = max(day_number(date.fromisoformat(key)) for key in warehouse.keys(DAYS))
        tasks = held_out_tasks(places(config, last), "report", n_tasks, last + 1)
        rows = champion_bank(warehouse, lab.base.hash)
        table = {place: k for k, row in enumerate(rows) for place in row.places}
        weights = [read(warehouse.folder(ADAPTERS, row.cycle) / row.folder) for row in rows]
        routes = [table.get((task.place.world.domain, task.place.scope), -1) for task in tasks]
        return cls(lab, tasks, date_of(last), weights, routes)

    def with_tasks(self, most: int) -> "Laboratory":
        """The same laboratory with the first tasks alone; they go round all places."""
        return replace(self, tasks=self.tasks[:most], routes=self.routes[:most])

    @property
    def config(self) -> SimulationConfig:
        """The world's settings."""
        assert self.lab.settings.simulation is not None  # noqa: S101 - a home of the demo
        return self.lab.settings.simulation

    def rows(self, config: TrainingConfig) -> list[ShardRow]:
        """Training sequences of every domain's latest cycle, packed as a preset wants them."""
        settings: Settings = self.lab.settings.model_copy(update={"training": config})
        latest = {cycle.domain: cycle for cycle in cycles(self.lab.warehouse)}
        packed = [
            build_shard(self.lab.warehouse, c, self.lab.memory, self.lab.encoder, settings) for c in latest.values()
        ]
        return [row for shard in packed for row in shard.rows]

    def success(self, base: Base, n_items: int, routes: Sequence[int] = (), bank: AdapterBank | None = None) -> Any:
        """Success with `n_items` memory items: value and standard error clustered by place."""
        shown = self.lab.recall(self.tasks, self.last_day, n_items) if n_items else [()] * len(self.tasks)
        encoder = PromptEncoder(base.tokenizer, self.lab.settings.prompt)
        agent = Agent(base.model, base.tokenizer, encoder, seed=17, routed=bank.routed if bank else None)
        where = list(routes) or [-1] * len(self.tasks)
        runs = agent.act([Assignment(*row) for row in zip(self.tasks, shown, where, strict=True)])
        return success_of(sums_of(Timed(runs, 0.0)), self.lab.settings.evaluation)


def lent_routes(tasks: Sequence[Task], lender: Laboratory) -> list[int]:
    """An adapter of the lender for each task, of the task's own domain; -1 where it has none. A place has one."""
    by_domain: dict[str, list[int]] = {}
    for task, route in zip(lender.tasks, lender.routes, strict=True):
        if route >= 0 and route not in by_domain.setdefault(task.place.world.domain, []):
            by_domain[task.place.world.domain].append(route)
    order = {scope: k for k, scope in enumerate(sorted({task.place.scope for task in tasks}))}
    routes = []
    for task in tasks:
        lent = by_domain.get(task.place.world.domain, [-1])
        routes.append(lent[order[task.place.scope] % len(lent)])
    return routes
