"""The same measurements on the embedded base, with the memory of lived days as the context.

The agent acts on some sites for two days; the pipeline makes memory and training sequences of its logs. Then it acts
with that memory in context on new tasks: those of the split `train` fit a site's static patch (what memory changes at
every token), those of `report` judge. Judged are the decisions that need the memory: the arguments of right actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch

from synde_pipeline.base_model import pin_given
from synde_pipeline.models.implicit import Query, Record, Update, blocks_of, implicit_updates, patched, recorded, run
from synde_pipeline.records import split_of
from synde_pipeline.settings import PRESETS, BufferConfig, SimulationConfig
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.demo import defaults
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.tasks import date_of, held_out_tasks
from synde_pipeline.simulation.worlds.base import Place, Task
from synde_pipeline.studies.lived import History, live, sites
from synde_pipeline.studies.mechanism.measure import (
    ADAPTED,
    RANKS,
    Adapters,
    Row,
    dense_of,
    measure,
    round_of,
)
from synde_pipeline.studies.mechanism.pairs import Batch, Pair
from synde_pipeline.studies.mechanism.static import Fit, Target, least_squares, static_patch, update_of
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.shards import ShardRow, build_shard
from synde_pipeline.training.train import train

N_DAYS = 2


@dataclass(frozen=True)
class BaseSize:
    """How much is measured on one seed of the world."""

    n_sites: int
    per_day: int
    """Episodes a site and day."""
    n_fit: int
    """Runs of a site that fit its patch."""
    n_judged: int
    """Runs of a site that judge."""
    adapter_steps: int
    ranks: tuple[int | None, ...] = RANKS


@dataclass
class Site:
    """One site: runs that fit, runs that judge, and its training sequences."""

    model: Any
    fitting: Batch
    judging: Batch
    sequences: list[ShardRow]
    tasks: list[Task]

    @cached_property
    def in_context(self) -> torch.Tensor:
        """What the base predicts with the memory in view."""
        return self.judging.predicted(self.model, in_context=True)

    def judged(self, update: Update | None = None, *, in_context: bool = False) -> Row:
        """Nats and wrong tokens at the judged decisions, and agreement with the base that reads the memory."""
        taught = self.in_context
        with patched(self.model, update or {}):
            found = taught if in_context else self.judging.predicted(self.model, in_context=False)
        right = self.judging.answers
        return {
            "error": float(-found.gather(1, right[:, None]).mean()),
            "wrong": float((found.argmax(-1) != right).float().mean()),
            "agreement": float((found.argmax(-1) == taught.argmax(-1)).float().mean()),
            "kl": float((taught.exp() * (taught - found)).sum(-1).mean()),
        }

    def static(self, target: Target, fit: Fit) -> Update:
        """The patch that does at every token what the memory does, in the mean square over tokens."""
        names = [name for block in blocks_of(self.model) for name in block.names]

        def read() -> Record:
            with recorded(self.model, names) as record:
                run(self.model, self.fitting.without)
            return record.at(self.fitting.rows)

        with recorded(self.model, names) as record, torch.no_grad():
            run(self.model, self.fitting.with_memory)
        return static_patch(self.model, read, record.at(self.fitting.rows_in_context), target, fit)

    def queries(self, n: int = 6) -> list[Query]:
        """Some judged decisions, evenly over all of them."""
        row, place = self.judging.decisions
        step = max(1, len(row) // n)
        return [self._query(int(row[k]), int(place[k])) for k in range(0, len(row), step)][:n]

    def per_query(self) -> Row:
        """What updates of single decisions do for themselves and for the next one."""
        return round_of(self.queries())

    def _query(self, k: int, place: int) -> Query:
        pair = self.judging.pairs[k]
        ids = (pair.with_memory[: place + pair.shift], pair.without[:place])
        return Query(self.model, *(torch.tensor([part]) for part in ids))


@dataclass
class Lived:
    """A seed's sites after some days, and the agent that acts on them."""

    lab: Lab
    places: list[Place]
    found: list[Site]

    @classmethod
    def of(cls, home: Path, seed: int, size: BaseSize) -> "Lived":
        """Live two days below `home`, then act with the memory they left."""
        config = SimulationConfig(seed=seed, places=2 * size.n_sites)
        settings = defaults(seed).model_copy(
            update={
                "home": home,
                "simulation": config,
                "buffer": BufferConfig(threshold=1),
                "training": _training(size),
            }
        )
        lived, where = History(settings), sites(config)
        pin_given(lived.warehouse, settings)
        for day in range(1, N_DAYS + 1):
            live(lived, day, _tasks(where, size.per_day, day))
        freeze_cycles(lived.warehouse, settings.buffer)
        lab = Lab(lived.warehouse, settings)
        (cycle,) = cycles(lived.warehouse)
        sequences = build_shard(lived.warehouse, cycle, lab.memory, lab.encoder, settings).rows
        tasks = [task for task in _tasks(where, 3 * size.n_fit, N_DAYS + 1) if split_of(task.task_id) == "train"]
        fitting = _runs(lab, tasks)
        judging = _runs(lab, held_out_tasks(where, "report", size.n_judged * len(where), N_DAYS + 1))
        found = []
        for place in where:
            of_place = [row for row in sequences if row["scope"] == place.scope]
            fits = [pair for task, pair in fitting if task.place == place][: size.n_fit]
            judges = [pair for task, pair in judging if task.place == place and pair.decided]
            found.append(
                Site(lab.base.model, Batch(fits), Batch(judges), of_place, [t for t, _ in judging if t.place == place])
            )
        return cls(lab, where, found)

    @property
    def n_places(self) -> int:
        """How many sites."""
        return len(self.found)

    def in_context(self, place: int) -> Row:
        """What the base does at a site with memory."""
        return self.found[place].judged(in_context=True)

    def judged(self, place: int, update: Update) -> Row:
        """What it does without, under an update."""
        return self.found[place].judged(update)

    def static(self, place: int, target: Target, fit: Fit) -> Update:
        """A site's static patch."""
        return self.found[place].static(target, fit)

    def updates(self, place: int) -> list[Update]:
        """The implicit updates of some of a site's decisions."""
        return [dense_of(implicit_updates(query), 0) for query in self.found[place].queries()]

    def adapters(self, size: BaseSize, seed: int) -> list[Update]:
        """One rank-1 adapter a site, trained by the pipeline on what the site's logs hold, without memory in view."""
        config = _training(size).model_copy(update={"seed": seed})
        done = train(self.lab.base.model, [site.sequences for site in self.found], config)
        weights = [done.bank.weights(k) for k in range(len(self.found))]
        done.bank.remove()
        return [update_of(one) for one in weights]

    def success(self, updates: Sequence[Update] | None, *, memory: bool = False) -> list[float]:
        """Share of each site's judging tasks that the agent solves by acting, under the site's update."""
        found = []
        base = self.lab.base
        for k, site in enumerate(self.found):
            shown = self.lab.recall(site.tasks, date_of(N_DAYS)) if memory else [()] * len(site.tasks)
            with patched(base.model, updates[k] if updates else {}):
                agent = Agent(base.model, base.tokenizer, self.lab.encoder, seed=11)
                runs = agent.act([Assignment(task, items) for task, items in zip(site.tasks, shown, strict=True)])
            found.append(sum(one.is_success for one in runs) / len(runs))
        return found


def measured(home: Path, seed: int, size: BaseSize) -> dict[str, Any]:
    """Live one seed below `home` and measure the base on it; its places are sites."""
    lived = Lived.of(home, seed, size)
    adapters: Adapters = {("trained on the logs", "mlp"): [lived.adapters(size, one) for one in (1, 2)]}
    found = measure(lived, adapters, size.ranks)
    acting = {"without": lived.success(None), "in context": lived.success(None, memory=True)}
    for target, rank in product(ADAPTED, (size.ranks[0], size.ranks[-1])):
        updates = [site.static(target, least_squares(rank)) for site in lived.found]
        acting[f"static patch, {target}, rank {rank or 'full'}"] = lived.success(updates)
    acting["adapters trained on the logs, mlp"] = lived.success(adapters["trained on the logs", "mlp"][0])
    return {
        "seed": seed,
        "per query": [site.per_query() for site in lived.found],
        "acting": acting,
        "memory tokens": [pair.shift for site in lived.found for pair in site.judging.pairs],
        **found,
    }


def _training(size: BaseSize) -> Any:
    """The world's recipe; every sequence without memory, for weights alone."""
    knobs = {"scopes_per_adapter": 0, "anchors": 0.0, "tip_dropout": 1.0, "views": 1, "max_steps": size.adapter_steps}
    return PRESETS["world"].model_copy(update=knobs)


def _tasks(where: Sequence[Place], per_site: int, day: int) -> list[Task]:
    things = where[0].world.things
    first = day * 10_000
    return [
        Task(where[k % len(where)], things[k // len(where) % len(things)], first + k, day)
        for k in range(per_site * len(where))
    ]


def _runs(lab: Lab, tasks: Sequence[Task]) -> list[tuple[Task, Pair]]:
    """Runs with the memory in context, as pairs of prompts."""
    shown = lab.recall(tasks, date_of(N_DAYS))
    runs = lab.act(tasks, memory=shown, seed=11)
    return [(task, Pair.of(lab.encoder, one, items)) for task, one, items in zip(tasks, runs, shown, strict=True)]
