"""What each layer contributes in a lived laboratory: arms by number of items, forms of the weights, other-site control.

    python -m synde_pipeline.studies.worlds data/demo/seed-1 data/demo/seed-2

Each folder is a home of `synde demo`; nothing in it is changed. All tasks are of the split `report`, on places that the
agent knows, never handed out by any day. The last folder's adapters serve as the first one's control, and so on: they
were trained on other places.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import Base, load, one_thread
from synde_pipeline.models.bank import champion_bank
from synde_pipeline.models.compose import ADAPTERS, add_adapters
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import PRESETS, Settings, TrainingConfig
from synde_pipeline.settings import load as load_settings
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
from synde_pipeline.training.train import train

N_TASKS = 480
ITEMS = range(7)
ONE = TrainingConfig(**{**PRESETS["world"].model_dump(), "scopes_per_adapter": 0, "anchors": 0.0})


@dataclass
class Laboratory:
    """One laboratory, its held-out tasks and its adapters."""

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


def study(mine: Laboratory, other: Laboratory) -> dict[str, dict[str, Any]]:
    """All rows of one laboratory, by name; `other` lends its adapters for the control."""
    base = load(mine.lab.warehouse)
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, counts: Sequence[int], act: Callable[[int], dict[str, Any]]) -> None:
        for k in counts:
            found[f"{name}, {k} items"] = act(k)

    add("base", ITEMS, lambda k: mine.success(base, k))
    with _side_by_side(base, mine.adapters) as bank:
        add("routed bank", ITEMS, lambda k: mine.success(base, k, mine.routes, bank))
    with _side_by_side(base, other.adapters) as bank:
        # Every task gets an adapter of its own domain, of places that are not its own.
        foreign = _foreign_routes(mine, other)
        add("adapters of other places", (0, 3, 4), lambda k: mine.success(base, k, foreign, bank))
    # As many steps as all adapters of the bank had together.
    one = ONE.model_copy(update={"max_steps": (ONE.max_steps or 0) * len(mine.adapters)})
    trained = train(base.model, [mine.rows(one)], one)
    add("one adapter for all", (0, 3, 4), lambda k: mine.success(base, k, [0] * len(mine.tasks), trained.bank))
    trained.bank.remove()
    for name, alpha in (("sum", 1.0), ("mean", 1 / max(len(mine.adapters), 1))):
        merged = load(mine.lab.warehouse)
        add_adapters(merged.model, [(adapter, alpha) for adapter in mine.adapters])
        add(f"merged, {name} of the bank", (0, 3, 4), lambda k, merged=merged: mine.success(merged, k))
    trained = train(base.model, [mine.rows(PRESETS["paper"])], PRESETS["paper"])
    add("preset paper", (0, 3, 4), lambda k: mine.success(base, k, [0] * len(mine.tasks), trained.bank))
    trained.bank.remove()
    return found


class _side_by_side:
    """Adapters on a base for the time of a block."""

    def __init__(self, base: Base, adapters: Sequence[AdapterWeights]) -> None:
        self._bank = AdapterBank.of(base.model, adapters)

    def __enter__(self) -> AdapterBank:
        return self._bank

    def __exit__(self, *_: object) -> None:
        self._bank.remove()


def _foreign_routes(mine: Laboratory, other: Laboratory) -> list[int]:
    by_domain: dict[str, list[int]] = {}
    for task, route in zip(other.tasks, other.routes, strict=True):
        if route >= 0 and route not in by_domain.setdefault(task.place.world.domain, []):
            by_domain[task.place.world.domain].append(route)
    order = {scope: k for k, scope in enumerate(sorted({task.place.scope for task in mine.tasks}))}
    routes = []
    for task in mine.tasks:
        lent = by_domain.get(task.place.world.domain, [-1])
        routes.append(lent[order[task.place.scope] % len(lent)])
    return routes


def table(results: Sequence[dict[str, dict[str, Any]]]) -> str:
    """One line a row: each laboratory's success with its standard error, and the mean over laboratories."""
    lines = []
    for name in results[0]:
        cells = [f"{one[name]['success']:.3f} ({one[name]['se']:.3f})" for one in results]
        mean = sum(one[name]["success"] for one in results) / len(results)
        lines.append(f"{name:<36} {'  '.join(cells)}   mean {mean:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("expected: two homes of `synde demo` or more, of different seeds: each is another one's control")
    homes = [Laboratory.open(load_settings(Path(word))) for word in sys.argv[1:]]
    with one_thread():
        rows = [study(home, homes[k - 1]) for k, home in enumerate(homes)]
    sys.stdout.write(json.dumps(rows) + "\n" + table(rows) + "\n")
