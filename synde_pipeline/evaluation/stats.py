"""Uncertainty: bootstrap intervals clustered by task. Pure arithmetic on per-task sums."""

from dataclasses import dataclass

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
