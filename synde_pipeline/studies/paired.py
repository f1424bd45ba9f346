"""Paired comparisons of arms: acting on the same tasks with the same chances, and ratios of sums with their intervals.

Sums by place are kept as parts of a study. Intervals are over laboratories (Student's t) from three seeds on, else over
places (bootstrap): both say what their n counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.evaluation.stats import Estimate, estimate, mean_interval, paired_difference, resamples
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.simulation.acting import PlaceSums, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.lab import Timed, timed
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import NOT_RUN, Interval, against, all_of
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights

Sums = Sequence[PlaceSums]
Arms = Mapping[str, Sums]
"""Name -> one row a place, the same places in the same order in every arm of a laboratory."""
Table = Mapping[str, Sequence[Sums]]
"""Arm -> its sums in each laboratory."""
Column = Literal["n_success", "n_tasks", "n_steps", "n_context_tokens", "seconds"]
Pairs = Sequence[tuple[float, float]]
"""Numerator and denominator of each place."""
Vector = NDArray[np.float64]

SAMPLING = 17
"""Seed of sampling; with the task's id it decides every chance, so that arms are paired."""
FEW = 3
"""Seeds from which on an interval is over seeds."""
CHOSEN = EvaluationConfig()
"""Resamples and confidence of intervals over places."""


# -- acting ---------------------------------------------------------------------------------------------------------


@contextmanager
def side_by_side(mine: Laboratory, adapters: Sequence[AdapterWeights] | None = None) -> Iterator[AdapterBank | None]:
    """A laboratory's adapters, or the given ones, on its base for the time of a block; None where there are none."""
    chosen = mine.adapters if adapters is None else adapters
    bank = AdapterBank.of(mine.lab.base.model, chosen) if chosen else None
    try:
        yield bank
    finally:
        if bank is not None:
            bank.remove()


def act(  # noqa: PLR0913 - all but the tasks have defaults
    mine: Laboratory,
    tasks: Sequence[Task],
    *,
    memory: Sequence[tuple[MemoryItem, ...]] | None = None,
    bank: AdapterBank | None = None,
    routes: Sequence[int] = (),
    encoder: PromptEncoder | None = None,
    model: Any = None,
) -> Timed:
    """Try tasks on a laboratory's base.

    Args:
        mine: whose base and encoder act.
        tasks: of the split `report`, never handed out.
        memory: what each is shown; None shows nothing.
        bank: adapters on the base; None acts without.
        routes: index of each task's adapter, -1 for none.
        encoder: None takes the laboratory's.
        model: a merged one that acts instead of the base; a bank is of the model that acts.
    """
    base = mine.lab.base
    routed = bank.routed if bank is not None else None
    agent = Agent(
        base.model if model is None else model,
        base.tokenizer,
        encoder or mine.lab.encoder,
        seed=SAMPLING,
        routed=routed,
    )
    shown = memory if memory is not None else [()] * len(tasks)
    where = routes if bank is not None and routes else [-1] * len(tasks)
    return timed(agent.act, [Assignment(*row) for row in zip(tasks, shown, where, strict=True)])


def one_by_one(n: int, ways: Mapping[str, Callable[[int], Timed]]) -> dict[str, list[PlaceSums]]:
    """Task after task, the arms in turn so that the machine's moods hit all of them: in batches nobody has a time.

    Args:
        n: tasks.
        ways: arm -> tries the task of that number alone.
    """
    found: dict[str, list[PlaceSums]] = {arm: [] for arm in ways}
    for k in range(n):
        for arm, way in ways.items():
            found[arm] += sums_of(way(k))
    return {arm: merged(rows) for arm, rows in found.items()}


def kept(run: StudyRun, key: dict[str, Any], compute: Callable[[], Arms]) -> dict[str, list[PlaceSums]]:
    """Arms of one laboratory: acted, or read if this very code acted them before."""
    found = run.part(key, lambda: {name: [astuple(row) for row in rows] for name, rows in compute().items()})
    return {name: places_of(rows) for name, rows in found.items()}


def places_of(rows: Sequence[Sequence[Any]]) -> list[PlaceSums]:
    """Sums by place as a part holds them."""
    return [PlaceSums(*row) for row in rows]


# -- comparing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A number with its interval and what stands behind it."""

    value: float | None
    interval: Interval | None
    n: int
    units: str
    """What n counts, and how the interval was made."""

    def claimed(self, verdict: str, what: str) -> dict[str, Any]:
        """As `StudyRun.claim` takes it."""
        said = f"{what}; n counts {self.units}" if self.units else what
        return {"measured": self.value, "error": self.interval, "n": self.n, "verdict": verdict, "what": said}

    @property
    def text(self) -> str:
        """For tables."""
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" + ("" if self.interval is None else " [{:.3f}, {:.3f}]".format(*self.interval))


def nothing(reason: str) -> dict[str, Any]:
    """What a claim says that could not be measured, and why."""
    return Found(None, None, 0, "").claimed(NOT_RUN, reason)


def span(values: Sequence[float]) -> Found:
    """Mean of what has no error of measurement, such as bytes, with its range over laboratories."""
    return Found(float(np.mean(values)), (min(values), max(values)), len(values), "seeds (range)")


def over_seeds(values: Sequence[float]) -> Found:
    """Mean of one value a laboratory, with a t interval where there are enough of them."""
    if not values:
        return Found(None, None, 0, "")
    found = mean_interval(values) if len(values) >= FEW else None
    units = "seeds (t interval)" if found else "seeds (too few for an interval)"
    return Found(float(np.mean(values)), found[1] if found else None, len(values), units)


def level(labs: Sequence[Sums], column: Column = "n_success") -> Found:
    """Mean of an arm a task, over laboratories."""
    return mean_of([pairs(rows, column) for rows in labs])


def gain(new: Sequence[Sums], old: Sequence[Sums], column: Column = "n_success") -> Found:
    """One arm less another one, a task, on the same tasks of the same laboratories."""
    return difference([pairs(rows, column) for rows in new], [pairs(rows, column) for rows in old])


def pairs(rows: Sums, column: Column = "n_success", per: Column = "n_tasks", *, times: float = 1.0) -> Pairs:
    """Sums of two columns by place, the first one times a factor."""
    return [(times * getattr(row, column), getattr(row, per)) for row in rows]


def mean_of(labs: Sequence[Pairs]) -> Found:
    """Ratio of sums, over laboratories."""
    if len(labs) >= FEW:
        return over_seeds([_rate(one) for one in labs])
    numerator, denominator = _columns(labs)
    return _over_places(estimate(numerator, denominator, _draws(denominator), CHOSEN.confidence))


def difference(new: Sequence[Pairs], old: Sequence[Pairs]) -> Found:
    """One ratio of sums less another one, of the same places in the same order."""
    if len(new) >= FEW:
        return over_seeds([_rate(n) - _rate(o) for n, o in zip(new, old, strict=True)])
    first, second = _columns(new), _columns(old)
    return _over_places(paired_difference(first, second, _draws(first[1], second[1]), CHOSEN.confidence))


def _draws(*denominators: Vector) -> Vector:
    """Resamples of places in which no denominator is zero: a place may be missing on one side."""
    draws = resamples(len(denominators[0]), CHOSEN)
    return draws[np.all([draws @ one > 0 for one in denominators], axis=0)]


def _over_places(found: Estimate) -> Found:
    return Found(found.value, (found.low, found.high), found.n, "places (bootstrap)")


def _rate(rows: Pairs) -> float:
    return sum(numerator for numerator, _ in rows) / sum(denominator for _, denominator in rows)


def _columns(labs: Sequence[Pairs]) -> tuple[Vector, Vector]:
    table = np.array([row for one in labs for row in one], np.float64)
    return table[:, 0], table[:, 1]


def merged(rows: Sums, scopes: Iterable[str] = ()) -> list[PlaceSums]:
    """One row a place, in the order of names; places of `scopes` without any row have zeros."""
    found = {scope: PlaceSums(scope, 0, 0, 0, 0, 0.0) for scope in sorted({*scopes, *(row.scope for row in rows)})}
    for row in rows:
        sums = map(sum, zip(astuple(found[row.scope])[1:], astuple(row)[1:], strict=True))
        found[row.scope] = PlaceSums(row.scope, *sums)
    return list(found.values())


def better_of_both(dual: Sequence[Sums], *others: Sequence[Sums]) -> tuple[Found, str]:
    """The least certain lead of an arm over others, and whether it leads every one of them."""
    leads = [gain(dual, other) for other in others]
    least = min(leads, key=lambda one: one.interval[0] if one.interval else one.value or 0.0)
    return least, all_of([against(one.interval) for one in leads])


def inside(interval: Interval | None, low: float, high: float) -> str:
    """Whether an interval lies within a range that was predicted."""
    return all_of([against(interval, low), against(interval, high, wanted="below")])
