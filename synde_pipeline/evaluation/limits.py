"""How near is known, how far is novel: the router's limits, fitted on held-out `gate` tasks, never on reported ones.

Weights alone are enough where they are not worse than both layers by more than a margin, memory alone likewise: shown
by the lower bound of a clustered interval, for the largest of a few nested sets of tasks that passes; the bounds are
corrected for the number of looks (Bonferroni). One task more, on which the single layer fails, is added to every look:
where nothing varies a bootstrap would be sure of itself (the rule of three).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synde_pipeline.evaluation.stats import paired_difference, resamples
from synde_pipeline.models.decide import Limits
from synde_pipeline.settings import EvaluationConfig

MARGIN = 0.05
"""Loss of success that is given for a prompt without memory, or an answer without an adapter."""
FEWEST = 8
"""Independent units (places, tasks) from which on a bound is believed."""
_LOOKS = 6
"""Nested sets of tasks: a sixth of them, two sixths, ..., all."""


@dataclass(frozen=True)
class Tried:
    """One `gate` task that had both an adapter and memory."""

    familiarity: float
    unit: str
    """What is independent of others: its place, or the task itself."""
    weights: float
    context: float
    dual: float
    """What each arm made of it, 0..1."""


def fit(rows: Sequence[Tried], config: EvaluationConfig, margin: float = MARGIN) -> Limits:
    """The limits that gate tasks allow; None where nothing is shown."""
    known = _limit(rows, config, margin, "weights", from_nearest=True)
    novel = _limit(rows, config, margin, "context", from_nearest=False)
    if known is not None and novel is not None and novel > known:
        novel = known  # where either would do, weights: they cost no tokens
    return Limits(known, novel)


def _limit(
    rows: Sequence[Tried], config: EvaluationConfig, margin: float, arm: str, *, from_nearest: bool
) -> float | None:
    """The threshold of the largest set of tasks in which an arm alone is not worse than both layers."""
    ordered = sorted(rows, key=lambda row: -row.familiarity if from_nearest else row.familiarity)
    scores = [row.familiarity for row in ordered]
    for end in sorted({len(rows) * k // _LOOKS for k in range(1, _LOOKS + 1)} - {0}, reverse=True):
        while end < len(ordered) and scores[end] == scores[end - 1]:
            end += 1  # what is equally near is treated alike
        inside = ordered[:end]
        if len({row.unit for row in inside}) < FEWEST or _lower(inside, arm, config) < -margin:
            continue
        # A limit is the first score that is inside, seen from above: known from it on, novel below the next one.
        return scores[end - 1] if from_nearest else float(np.nextafter(scores[end - 1], 2))
    return None


def _lower(rows: Sequence[Tried], arm: str, config: EvaluationConfig) -> float:
    """Lower bound of an arm less both layers, clustered by unit."""
    units = sorted({row.unit for row in rows})
    at = {unit: k for k, unit in enumerate(units)}
    sums = np.zeros((3, len(units) + 1))
    for row in rows:
        sums[:, at[row.unit]] += (getattr(row, arm), row.dual, 1.0)
    sums[:, -1] = (0.0, 1.0, 1.0)
    draws = resamples(len(units) + 1, config)
    return paired_difference((sums[0], sums[2]), (sums[1], sums[2]), draws, 1 - (1 - config.confidence) / _LOOKS).low
