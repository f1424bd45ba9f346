"""Arms side by side: metrics with intervals, and paired differences from `none`. Pure arithmetic on sums."""

from dataclasses import asdict
from typing import Any

from synde_pipeline.evaluation.stats import estimate, estimate_share, paired_difference, resamples, verdict
from synde_pipeline.settings import EvaluationConfig

ARMS = ("none", "context", "weights", "dual")
METRICS = {"success": False, "nll": True, "tool_top1": False, "steps": True}
"""Metric -> whether lower is better. success: share of tasks solved; nll: nats per action token; tool_top1: share of
steps; steps: actions per task. A report has the ones that its method measures, in this order."""

SHARES = ("success", "tool_top1")
TITLES = {
    "success": "Share of tasks solved",
    "nll": "NLL of the logged action (nats per token, lower is better)",
    "tool_top1": "Logged tool ranks first",
    "steps": "Actions per task (lower is better)",
}
HEADS = {"success": "success", "nll": "nats/token", "tool_top1": "tool top-1", "steps": "actions"}

Ratios = dict[str, tuple[Any, Any]]
"""Metric -> numerator and denominator per unit, each of shape (units,)."""


def summarise_ratios(
    ratios: dict[str, Ratios], costs: dict[str, dict[str, Any]], config: EvaluationConfig
) -> dict[str, Any]:
    """Arms and their paired differences from `none`, with intervals; too few units give a note and no number.

    Args:
        ratios: arm -> metric -> numerator and denominator per unit (task or place), same units in every arm.
        costs: arm -> what else is told of it; `n` is what its numbers rest on.
        config: resamples, confidence, and the fewest units.
    """
    n_units = len(next(iter(next(iter(ratios.values())).values()))[0])
    if n_units < config.min_tasks:
        note = f"not enough tasks (n={n_units}, needs {config.min_tasks})"
        return {"arms": {arm: {"n": n_units, "note": note} for arm in ratios}, "differences": {}}
    draws = resamples(n_units, config)
    arms = {arm: dict(costs[arm]) for arm in ratios}
    differences: dict[str, dict[str, Any]] = {arm: {} for arm in ratios if arm != "none"}
    for arm, metrics in ratios.items():
        for metric, ratio in metrics.items():
            arms[arm][metric] = asdict(
                (estimate_share if metric in SHARES else estimate)(*ratio, draws, config.confidence)
            )
            if arm == "none" or "none" not in ratios:
                continue
            found = paired_difference(ratio, ratios["none"][metric], draws, config.confidence)
            against = verdict(found, lower_is_better=METRICS[metric])
            differences[arm][metric] = {**asdict(found), "against_none": against}
    return {"arms": arms, "differences": differences}


def measured(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics of an arm with their intervals, the first of them the one that counts; none where there is a note."""
    intervals = values.get("intervals", values)
    return {metric: intervals[metric] for metric in METRICS if isinstance(intervals.get(metric), dict)}


def with_interval(found: dict[str, Any], *, sign: bool = False) -> str:
    """A number with its interval, for people."""
    form = "+.3f" if sign else ".3f"
    if found.get("low") is None:
        return f"{found['value']:{form}}"
    return f"{found['value']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"
