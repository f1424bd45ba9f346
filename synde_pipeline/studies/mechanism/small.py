"""A small model that learned to learn in context, measured: its places are tasks, each with a context of its own."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from synde_pipeline.models.implicit import Query, Record, Update, blocks_of, implicit_updates, patched, recorded
from synde_pipeline.studies.mechanism.adapters import recipes, train_adapters
from synde_pipeline.studies.mechanism.measure import ADAPTED, RANKS, Adapters, Row, dense_of, measure, round_of
from synde_pipeline.studies.mechanism.static import Fit, Target, distance, static_patch, summed
from synde_pipeline.studies.mechanism.tasks import N_EXAMPLES, Family, InContextModel, Tasks, trained

N_SPREAD = 8
"""Queries of a task between which updates are compared."""
N_PATCHED = 4
"""Queries of a task whose own updates are put into the weights."""
SEEDS = (1, 2)
"""Of adapters."""


@dataclass(frozen=True)
class Size:
    """How much is measured of one model."""

    n_steps: int
    """Of the model's own training."""
    n_tasks: int
    n_queries: int
    """Of each task; one half fits patches (without their answers), the other half judges."""
    adapter_steps: int
    ranks: tuple[int | None, ...] = RANKS


@dataclass
class SmallSubject:
    """One trained model and the tasks that it is measured on."""

    model: InContextModel
    tasks: Tasks
    """With all queries."""

    @classmethod
    def of(cls, model: InContextModel, size: Size, seed: int) -> "SmallSubject":
        """Fresh tasks, none of them from training."""
        return cls(model, model.family.draw(size.n_tasks, size.n_queries, torch.Generator().manual_seed(10**6 + seed)))

    @property
    def family(self) -> Family:
        """Kind of task."""
        return self.model.family

    @property
    def n_places(self) -> int:
        """How many tasks."""
        return len(self.tasks.shown)

    @property
    def half(self) -> int:
        """Queries that fit; the others judge."""
        return self.tasks.asked.shape[1] // 2

    @cached_property
    def contexts(self) -> torch.Tensor:
        """(tasks, queries, examples + 1, width)."""
        with torch.no_grad():
            return self.model.contexts(self.tasks).unflatten(0, (self.n_places, -1))

    @cached_property
    def taught(self) -> torch.Tensor:
        """(tasks, judging queries, out): what the model answers with the context."""
        with torch.no_grad():
            found = self.model.answer(self.contexts[:, self.half :].flatten(0, 1))
        return found.unflatten(0, (self.n_places, -1))

    def query(self, place: int, rows: slice) -> Query:
        """Some queries of a task, with the context and alone."""
        found = self.contexts[place, rows]
        return Query(self.model.lm, found, found[:, -1:])

    def alone(self, place: int, update: Update) -> torch.Tensor:
        """(judging queries, out): what the model answers without the context, under an update."""
        query = self.query(place, slice(self.half, None))
        with patched(self.model.lm, update):
            return query.alone()[:, : self.family.n_out]

    def targets(self, place: int) -> torch.Tensor:
        """Right answers of the judging queries."""
        return self.tasks.targets[place, self.half :]

    def error(self, outputs: torch.Tensor, place: int) -> float:
        """How badly a task is done."""
        return float(self.family.errors(outputs[None], self.targets(place)[None]))

    def agreement(self, outputs: torch.Tensor, place: int) -> Row:
        """How far outputs are those of the model with the context."""
        taught = self.taught[place]
        if self.family.n_out == 1:
            left = (outputs - taught).pow(2).mean() / taught.var(unbiased=False)
            return {"agreement": 1 - float(left)}
        kl = (taught.softmax(-1) * (taught.log_softmax(-1) - outputs.log_softmax(-1))).sum(-1).mean()
        same = (taught.argmax(-1) == outputs.argmax(-1)).float().mean()
        return {"agreement": float(same), "kl": float(kl)}

    def in_context(self, place: int) -> Row:
        """Error of the model with the context."""
        return {"error": self.error(self.taught[place], place)}

    def judged(self, place: int, update: Update) -> Row:
        """Error and agreement of the model without the context, under an update."""
        outputs = self.alone(place, update)
        return {"error": self.error(outputs, place), **self.agreement(outputs, place)}

    def static(self, place: int, target: Target, fit: Fit) -> Update:
        """A static patch fitted on the unlabelled queries of a task."""
        query = self.query(place, slice(0, self.half))
        blocks = blocks_of(self.model.lm)
        names = [name for block in blocks for name in block.names]

        def read() -> Record:
            with recorded(self.model.lm, names) as record:
                query.alone()
            return record.at((slice(None), -1))

        with recorded(self.model.lm, names) as record:
            query.in_context()
        return static_patch(self.model.lm, read, record.at((slice(None), -1)), target, fit)

    def updates(self, place: int) -> list[Update]:
        """The implicit updates of some judging queries."""
        factors = implicit_updates(self.query(place, slice(self.half, self.half + N_SPREAD)))
        return [dense_of(factors, row) for row in range(N_SPREAD)]

    def per_query(self, place: int) -> Row:
        """Updates of single queries, how they differ between queries, and whether halves of the context add up."""
        query = self.query(place, slice(0, N_SPREAD))
        factors = implicit_updates(query)
        found = round_of([self.query(place, slice(k, k + 1)) for k in range(N_PATCHED)])
        first = blocks_of(self.model.lm)[0].first[0]
        cosines = factors[f"{first}.weight"].cosines()
        tokens, middle = self.contexts[place, :N_SPREAD], N_EXAMPLES // 2
        halves = [
            implicit_updates(Query(self.model.lm, torch.cat([part, tokens[:, -1:]], 1), tokens[:, -1:]))
            for part in (tokens[:, :middle], tokens[:, middle:-1])
        ]
        apart = [
            distance(summed(dense_of(halves[0], row), dense_of(halves[1], row)), dense_of(factors, row))["relative"]
            for row in range(N_SPREAD)
        ]
        return {
            **found,
            "cosine": float((cosines.sum() - N_SPREAD) / (N_SPREAD * (N_SPREAD - 1))),
            "halves_apart": sum(apart) / N_SPREAD,
        }


def measured(family: Family, seed: int, size: Size) -> dict[str, Any]:
    """Train one model and measure it."""
    model, losses = trained(family, seed, size.n_steps)
    subject = SmallSubject.of(model, size, seed)
    adapters: Adapters = {
        (recipe.name, target): train_adapters(model, subject.tasks, recipe, target, SEEDS)
        for recipe in recipes(size.adapter_steps)
        for target in ADAPTED
    }
    return {
        "seed": seed,
        "losses": losses[:: max(1, len(losses) // 50)],
        "per query": [subject.per_query(place) for place in range(subject.n_places)],
        **measure(subject, adapters, size.ranks),
    }
