"""What is learned from a shard, and what becomes of failures: every objective and failure option, at equal steps.

    python -m synde_pipeline.studies.objectives gate data/demo/seed-7 data/demo/seed-8

The first word is the split of the tasks: `gate` to choose, `report` to confirm; names of ways behind the homes limit
what is tried. Each folder is a home of `synde demo`; nothing in it is changed. Of every domain the latest cycle's
groups are trained anew, with preset `world` but for the objective or the failures, and act on tasks that no day handed
out, with 0, 3 and 4 memory items. Differences are paired with the first way, clustered by place.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, get_args

from synde_pipeline.base_model import one_thread
from synde_pipeline.models.bank import groups_to_train, train_groups
from synde_pipeline.models.route import Place
from synde_pipeline.records import Split
from synde_pipeline.settings import PRESETS, TrainingConfig, load
from synde_pipeline.simulation.acting import PlaceSums, compare, success_of, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.lab import Lab, Timed
from synde_pipeline.simulation.loop import DAYS
from synde_pipeline.simulation.scribe import scribe_of
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import NONE, AdapterBank
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.groups import groups_of
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import build_shard

N_TASKS = 288
ITEMS = (0, 3, 4)
FIRST = "tip_dropout, unlikelihood"
"""The way that others are compared with."""


def ways() -> dict[str, TrainingConfig]:
    """Objectives with the default for failures, then failures with the default objective."""
    world = PRESETS["world"]
    found = {FIRST: world}
    for objective in ("context_distillation", "from_memory", "imitation"):
        found[objective] = world.model_copy(update={"objective": objective})
    for failures in ("masked", "npo", "negated"):
        found[failures] = world.model_copy(update={"failures": failures, "allow_negated": failures == "negated"})
    return found


@dataclass
class Trial:
    """A laboratory and the tasks that are tried in it."""

    lab: Lab
    tasks: list[Task]
    last_day: date

    @classmethod
    def open(cls, home: Path, split: Split, n_tasks: int = N_TASKS) -> "Trial":
        """Load a home of `synde demo`."""
        settings = load(home)
        warehouse, config = Warehouse(settings.warehouse), settings.simulation
        assert config is not None  # noqa: S101 - a home of the demo
        last = max(day_number(date.fromisoformat(key)) for key in warehouse.keys(DAYS))
        tasks = held_out_tasks(places(config, last), split, n_tasks, last + 1)
        return cls(Lab(warehouse, settings), tasks, date_of(last))

    def train(self, config: TrainingConfig) -> tuple[list[AdapterWeights], dict[Place, int]]:
        """Adapters of every domain's latest cycle, and which of them each place gets."""
        lab, simulation = self.lab, self.lab.settings.simulation
        assert simulation is not None  # noqa: S101 - a home of the demo
        settings = lab.settings.model_copy(update={"training": config})
        adapters: list[AdapterWeights] = []
        routes: dict[Place, int] = {}
        for cycle in {cycle.domain: cycle for cycle in cycles(lab.warehouse)}.values():
            scribe = scribe_of(simulation)
            shard = build_shard(lab.warehouse, cycle, lab.memory, lab.encoder, settings, scribe)
            groups = groups_to_train(shard.rows, groups_of(lab.warehouse, cycle, config.scopes_per_adapter))
            trained = train_groups(lab.base, groups, config, None)
            for index, group in enumerate(groups):
                routes |= dict.fromkeys(((cycle.domain, scope) for scope in group.scopes), len(adapters))
                adapters.append(trained.bank.weights(index))
            trained.bank.remove()
        return adapters, routes

    def act(self, adapters: Sequence[AdapterWeights], routes: Mapping[Place, int], n_items: int) -> list[PlaceSums]:
        """Runs of all tasks, each with its place's adapter and `n_items` memory items, summed by place."""
        lab = self.lab
        shown = lab.recall(self.tasks, self.last_day, n_items)
        bank = AdapterBank.of(lab.base.model, adapters) if adapters else None
        agent = Agent(lab.base.model, lab.base.tokenizer, lab.encoder, seed=17, routed=bank.routed if bank else None)
        where = [routes.get((task.place.world.domain, task.place.scope), NONE) for task in self.tasks]
        runs = agent.act([Assignment(*row) for row in zip(self.tasks, shown, where, strict=True)])
        if bank is not None:
            bank.remove()
        return sums_of(Timed(runs, 0.0))


def study(home: Path, split: Split, names: Sequence[str] = (), n_tasks: int = N_TASKS) -> Iterator[dict[str, Any]]:
    """One row a way and number of items: success, its standard error, n, and the difference from the first way.

    Args:
        home: of `synde demo`.
        split: of the tasks: `gate` to choose, `report` to confirm.
        names: ways that are tried beside the base and the first one; none given tries all.
        n_tasks: how many tasks.
    """
    trial = Trial.open(home, split, n_tasks)
    config = trial.lab.settings.evaluation
    first: dict[int, list[PlaceSums]] = {}
    chosen = {name: way for name, way in ways().items() if not names or name in (FIRST, *names)}
    with one_thread():
        for name, way in {"base": None, **chosen}.items():
            trained = trial.train(way) if way is not None else ([], {})
            for n_items in ITEMS:
                sums = trial.act(*trained, n_items)
                row = {"home": home.name, "split": split, "way": name, "items": n_items}
                row |= success_of(sums, config)
                if name == FIRST:
                    first[n_items] = sums
                elif first:
                    difference, verdict = compare(sums, first[n_items], config)
                    row |= {"difference": round(difference.value, 4), "difference_se": round(difference.se, 4)}
                    row["verdict"] = verdict
                yield row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a way and number of items: every home's success with its standard error, and the mean difference."""
    lines = []
    for way, n_items in dict.fromkeys((row["way"], row["items"]) for row in rows):
        mine = [row for row in rows if (row["way"], row["items"]) == (way, n_items)]
        cells = [f"{row['success']:.3f} ({row['se']:.3f})" for row in mine]
        line = f"{way:<26} {n_items} items  {'  '.join(cells)}  mean {sum(r['success'] for r in mine) / len(mine):.3f}"
        if all("difference" in row for row in mine):
            mean = sum(row["difference"] for row in mine) / len(mine)
            error = sum(row["difference_se"] ** 2 for row in mine) ** 0.5 / len(mine)
            line += f"  against {FIRST.split(',')[0]} {mean:+.3f} (se {error:.3f})"
        lines.append(line)
    return "\n".join(lines)


def main(words: Sequence[str]) -> None:
    """Print every row as soon as it is there, as JSON, and the table in the end."""
    if len(words) < 2 or words[0] not in get_args(Split):
        sys.exit("expected: gate or report, and homes of `synde demo`; then names of ways, if not all")
    rows = []
    for home in (Path(word) for word in words[1:] if word not in ways()):
        for row in study(home, words[0], [word for word in words if word in ways()]):  # type: ignore[arg-type]
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
