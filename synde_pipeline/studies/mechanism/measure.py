"""What is measured on any model that uses a context, in one shape: static patches, adapters, distances, composition.

A *subject* is a model with some contexts of its own, `places` for short: tasks of a small model, sites of the embedded
base. `error` says how badly a place is done, `kept` is the share of what its context achieves:
(error without - error now) / (error without - error with the context).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from synde_pipeline.models.implicit import Factors, Query, Update, implicit_updates, patched
from synde_pipeline.studies.mechanism.static import (
    TARGETS,
    Fit,
    Target,
    distance,
    least_squares,
    mean_of_updates,
    summed,
)

RANKS: tuple[int | None, ...] = (1, 2, 4, 8, None)
ADAPTED: tuple[Target, ...] = ("mlp", "attention")
"""Targets that adapters are trained on, and that are composed."""
COMPOSED_RANK = 8
FEW_RANKS = (1, COMPOSED_RANK)
"""What a quick look fits."""
Row = dict[str, float]
Adapters = Mapping[tuple[str, Target], Sequence[Sequence[Update]]]
"""Recipe and target -> for each of two seeds, each place's update."""


class Subject(Protocol):
    """A model and its places."""

    @property
    def n_places(self) -> int:
        """How many."""
        ...

    def in_context(self, place: int) -> Row:
        """`error` with the context."""
        ...

    def judged(self, place: int, update: Update) -> Row:
        """`error` without the context under an update, `agreement` with the model that has it, ..."""
        ...

    def static(self, place: int, target: Target, fit: Fit) -> Update:
        """A static patch of the place's context."""
        ...

    def updates(self, place: int) -> list[Update]:
        """The implicit updates of some single queries of a place."""
        ...


def measure(subject: Subject, adapters: Adapters, ranks: Sequence[int | None] = RANKS) -> dict[str, Any]:
    """All measurements, one row a place."""
    places = range(subject.n_places)

    def judged(updates: Sequence[Update]) -> list[Row]:
        return [subject.judged(place, update) for place, update in zip(places, updates, strict=True)]

    patches = {
        (target, rank): [subject.static(place, target, least_squares(rank)) for place in places]
        for target in TARGETS
        for rank in ranks
    }
    queries = [subject.updates(place) for place in places]
    composed = {f"static patches, rank 8, {target}": patches[target, COMPOSED_RANK] for target in ADAPTED}
    composed |= {f"adapters {name}, {target}": found[0] for (name, target), found in adapters.items()}
    return {
        "in context": [subject.in_context(place) for place in places],
        "without": judged([{}] * len(places)),
        "patches": [
            {"target": target, "rank": rank or "full", "rows": judged(found)}
            for (target, rank), found in patches.items()
        ],
        "mean of updates": judged([subject.static(place, "mlp", mean_of_updates) for place in places]),
        "adapters": [
            {
                "recipe": name,
                "target": target,
                "rows": judged(found[0]),
                "to_patch": [distance(*pair) for pair in zip(found[0], patches[target, 1], strict=True)],
                "to_nearest_query": [_nearest(one, queries[place]) for place, one in enumerate(found[0])],
                "to_other_seed": [distance(*pair) for pair in zip(found[0], found[1], strict=True)],
            }
            for (name, target), found in adapters.items()
        ],
        "composition": [{"what": what, "rows": _pairs(subject, updates)} for what, updates in composed.items()],
    }


def _nearest(adapter: Update, queries: Sequence[Update]) -> Row:
    """Distance to the nearest of some queries' updates."""
    return min((distance(adapter, one) for one in queries), key=lambda found: found["frobenius"])


def _pairs(subject: Subject, updates: Sequence[Update]) -> list[Row]:
    """Each place with the next one's update added to its own."""
    found = []
    for place, own in enumerate(updates):
        other = updates[(place + 1) % len(updates)]
        alone, both = subject.judged(place, own), subject.judged(place, summed(own, other))
        found.append({"own": alone["error"], "error": both["error"], "cosine": distance(own, other)["cosine"]})
    return found


# -- single queries ------------------------------------------------------------------------------------------------


def exactness(one: Query, other: Query) -> Row:
    """What the update of one query does for it and for another one of the same context.

    Returns:
        `error`, `unpatched`: largest deviation of a logit from the one with the context, with the update and without;
        `wrong_query`: share of the context's effect that the other query misses; `second_singular_value`.
    """
    update = dense_of(implicit_updates(one), 0)
    wanted, without = one.in_context()[0], one.alone()[0]
    other_wanted, other_without = other.in_context()[0], other.alone()[0]
    with patched(one.model, update):
        right, wrong = one.alone()[0], other.alone()[0]
    return {
        "error": float((right - wanted).abs().max()),
        "unpatched": float((without - wanted).abs().max()),
        "wrong_query": missing(wrong, other_wanted, other_without),
        "second_singular_value": second_singular_value(update),
    }


def round_of(queries: Sequence[Query]) -> Row:
    """Some queries of one context, the update of each tried on the next one: the worst of each, shares as means."""
    rows = [exactness(one, other) for one, other in zip(queries, [*queries[1:], queries[0]], strict=True)]
    return {
        "error": max(row["error"] for row in rows),
        "unpatched": min(row["unpatched"] for row in rows),
        "wrong_query": sum(row["wrong_query"] for row in rows) / len(rows),
        "second_singular_value": max(row["second_singular_value"] for row in rows),
    }


def dense_of(factors: Mapping[str, Factors], row: int) -> Update:
    """The update of one query of a batch."""
    return {name: one.dense(row) for name, one in factors.items()}


def missing(found: torch.Tensor, wanted: torch.Tensor, without: torch.Tensor) -> float:
    """Share of a context's effect on the logits that is still missing."""
    return float((found - wanted).norm() / (without - wanted).norm())


def second_singular_value(update: Update) -> float:
    """The largest ratio of the second singular value to the first, over all matrices that are changed at all."""
    values = [torch.linalg.svdvals(one.double()) for one in update.values() if one.dim() == 2]
    return max((float(s[1] / s[0]) for s in values if s[0] > 1e-6), default=0.0)
