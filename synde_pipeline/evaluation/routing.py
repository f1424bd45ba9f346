"""How often the router is wrong, counted on tasks whose true place is known; intervals are clustered by place."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synde_pipeline.evaluation.stats import estimate, resamples, wilson
from synde_pipeline.models.route import Asked, Place, Route, Router
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.training.bank import NONE

KINDS = ("right", "wrong", "none_when_known", "some_when_foreign", "none_when_foreign")
"""right, wrong, none_when_known: which adapter a task of a known place got. The others: tasks of places that no adapter
was trained on, where none is right."""


@dataclass(frozen=True)
class Count:
    """How often one thing happened, and how sure its share is."""

    n: int
    n_of: int
    """Tasks to which it could have happened."""
    share: float | None
    """None where there were no such tasks."""
    low: float | None
    high: float | None
    places: int
    """Places of these tasks: the independent units."""


def kind_of(route: Route, true: int) -> str:
    """Which of `KINDS` a route is, `true` being the adapter of the task's place, -1 where none was trained on it."""
    if true == NONE:
        return "none_when_foreign" if route.index == NONE else "some_when_foreign"
    if route.index == NONE:
        return "none_when_known"
    return "right" if route.index == true else "wrong"


def routing_errors(
    router: Router, asked: Sequence[Asked], places: Sequence[Place], config: EvaluationConfig
) -> dict[str, Count]:
    """Route tasks and compare with their true places: kind -> how often.

    Args:
        router: of a loaded bank.
        asked: what the router is told of each task; the scope may be hidden.
        places: where each task truly is.
        config: of the bootstrap.
    """
    truths = [router.table.get(place, NONE) for place in places]
    kinds = [kind_of(route, true) for route, true in zip(router.routes(asked), truths, strict=True)]
    by_place: dict[bool, dict[Place, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
    for kind, place, true in zip(kinds, places, truths, strict=True):
        by_place[true != NONE][place].append(kind)
    return {kind: _count(list(by_place["foreign" not in kind].values()), kind, config) for kind in KINDS}


def _count(groups: Sequence[Sequence[str]], kind: str, config: EvaluationConfig) -> Count:
    hits = np.array([group.count(kind) for group in groups], np.float64)
    sizes = np.array([len(group) for group in groups], np.float64)
    n, n_of = int(hits.sum()), int(sizes.sum())
    if not n_of:
        return Count(n, n_of, None, None, None, 0)
    if n in (0, n_of):  # nothing varies, so nothing can be resampled
        low, high = wilson(len(groups) if n else 0, len(groups))
    else:
        found = estimate(hits, sizes, resamples(len(groups), config), config.confidence)
        low, high = found.low, found.high
    return Count(n, n_of, round(n / n_of, 4), round(low, 4), round(high, 4), len(groups))
