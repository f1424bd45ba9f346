"""Uncertainty: bootstrap intervals clustered by task. Pure arithmetic on per-task sums."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.settings import EvaluationConfig

Sums = NDArray[np.float64]
"""Per-task sums, shape (tasks,)."""


@dataclass(frozen=True)
class Estimate:
    """A ratio of sums over tasks, with its uncertainty."""

    value: float
    se: float
    """Standard error: standard deviation over the resamples."""
    low: float
    high: float
    """Percentile interval at the configured confidence."""
    n: int
    """Tasks: the independent units."""


def resamples(n_tasks: int, config: EvaluationConfig) -> NDArray[np.float64]:
    """How often each task is drawn in each resample, shape (resamples, tasks).

    The same draws serve every arm of a report, which is what makes differences paired.
    """
    rng = np.random.default_rng(config.seed)
    return rng.multinomial(n_tasks, np.full(n_tasks, 1 / n_tasks), size=config.bootstrap).astype(np.float64)


def estimate(numerator: Sums, denominator: Sums, draws: NDArray[np.float64], confidence: float) -> Estimate:
    """Ratio sum(numerator) / sum(denominator), for example nats per token, with a task-clustered bootstrap interval."""
    values = (draws @ numerator) / (draws @ denominator)  # (resamples,)
    return _summary(float(numerator.sum() / denominator.sum()), values, len(numerator), confidence)


def estimate_share(hits: Sums, sizes: Sums, draws: NDArray[np.float64], confidence: float) -> Estimate:
    """As `estimate`, for a share; where nothing varies, so that nothing can be resampled, Wilson's interval."""
    found, n = estimate(hits, sizes, draws, confidence), len(hits)
    if found.value not in (0.0, 1.0):
        return found
    low, high = wilson(n if found.value else 0, n)
    return replace(found, low=low, high=high)


def paired_difference(
    arm: tuple[Sums, Sums], reference: tuple[Sums, Sums], draws: NDArray[np.float64], confidence: float
) -> Estimate:
    """Ratio of an arm minus ratio of the reference, over the same resampled tasks.

    Args:
        arm: numerator and denominator per task.
        reference: the same of the arm it is compared with.
        draws: from `resamples`.
        confidence: of the interval.
    """
    values = (draws @ arm[0]) / (draws @ arm[1]) - (draws @ reference[0]) / (draws @ reference[1])
    point = arm[0].sum() / arm[1].sum() - reference[0].sum() / reference[1].sum()
    return _summary(float(point), values, len(arm[0]), confidence)


def _summary(value: float, values: NDArray[np.float64], n: int, confidence: float) -> Estimate:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(values.std(ddof=1)), float(low), float(high), n)


def verdict(difference: Estimate, *, lower_is_better: bool) -> str:
    """`better`, `worse` or `no difference shown`: by whether the interval of the difference leaves zero out."""
    if difference.low <= 0 <= difference.high:
        return "no difference shown"
    return "better" if (difference.value < 0) == lower_is_better else "worse"


def wilson(n: int, n_of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share of independent units; honest at 0 and at 1."""
    share, square = n / n_of, z * z / n_of
    middle, half = share + square / 2, z * (share * (1 - share) / n_of + square / n_of / 4) ** 0.5
    # The share itself bounds both, which rounding could undo where all or none are hits.
    return max(0.0, min(share, (middle - half) / (1 + square))), min(1.0, max(share, (middle + half) / (1 + square)))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test: that so uneven a split of the pairs that differ comes by chance.

    Args:
        gained: tasks that went better than their pair.
        lost: tasks that went worse; ties say nothing.
    """
    n = gained + lost
    tail = ways = 1  # of n coins, none falls on the rarer side
    for k in range(min(gained, lost)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09)
"""97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom; beyond, 2.09 is a little wide."""


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float]] | None:
    """Mean of a few independent values (seeds) and its 95 % t interval; None for fewer than two."""
    if len(values) < 2:
        return None
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = _T[min(len(values) - 2, len(_T) - 1)] * spread
    return mean, (mean - half, mean + half)
