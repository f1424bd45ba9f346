"""What runs of arms add up to: success with its interval, costs, and paired differences from the arm without learning.

Groups of tasks (templates, sites) are the independent units: tasks of one group succeed together.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from synde_pipeline.evaluation.routing import wilson
from synde_pipeline.evaluation.stats import Estimate, estimate, paired_difference, resamples
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.studies.benchmarks.runner import Run

CONFIG = EvaluationConfig()


def success(runs: Sequence[Run]) -> dict[str, Any]:
    """Share of tasks solved, with a 95 % interval: Wilson's for single tasks, a bootstrap over groups for grouped ones.

    Returns:
        Keys: n (tasks), groups, success, low, high, tokens_in, tokens_out, steps and items_shown (a task), n_elided,
        endings. What is a mean is left out where there is no task.
    """
    hits, sizes = _by_group(runs)
    n = len(runs)
    found: dict[str, Any] = {"n": n, "groups": len(sizes)}
    if n:
        low, high = _interval(hits, sizes)
        found |= {"success": float(hits.sum() / n), "low": low, "high": high}
        found["tokens_in"] = round(sum(run.tokens_in for run in runs) / n, 1)
        found["tokens_out"] = round(sum(run.tokens_out for run in runs) / n, 1)
        found["steps"] = round(sum(len(run.turns) for run in runs) / n, 2)
        found["items_shown"] = round(sum(len(run.shown) for run in runs) / n, 2)
    found["n_elided"] = sum(run.n_elided for run in runs)
    found["endings"] = dict(Counter(run.outcome for run in runs).most_common())
    return found


def difference(runs: Sequence[Run], reference: Sequence[Run]) -> dict[str, Any]:
    """Success minus the reference's on the same tasks, with an interval, and the tasks that were harmed.

    For single tasks the interval comes from the two kinds of discordant pairs, each with Wilson's 95 % interval: at
    least 95 %, and never empty where nothing differs. For groups it is the paired bootstrap over groups.
    """
    gained = [a.task.task_id for a, b in zip(runs, reference, strict=True) if a.is_success and not b.is_success]
    harmed = [a.task.task_id for a, b in zip(runs, reference, strict=True) if b.is_success and not a.is_success]
    n = len(runs)
    found: dict[str, Any] = {"n": n, "gained": gained, "harmed": harmed}
    if not n:
        return found
    mine, theirs = _by_group(runs), _by_group(reference)
    if len(mine[1]) == n:
        up, down = wilson(len(gained), n), wilson(len(harmed), n)
        low, high = up[0] - down[1], up[1] - down[0]
    else:
        both: Estimate = paired_difference(mine, theirs, resamples(len(mine[1]), CONFIG), CONFIG.confidence)
        low, high = both.low, both.high
    return found | {"difference": (len(gained) - len(harmed)) / n, "low": low, "high": high}


def _by_group(runs: Sequence[Run]) -> tuple[Any, Any]:
    """Successes and tasks of each group, each of shape (groups,)."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for run in runs:
        groups[run.task.unit].append(run.is_success)
    rows = [groups[name] for name in sorted(groups)]
    return np.array([sum(row) for row in rows], np.float64), np.array([len(row) for row in rows], np.float64)


def _interval(hits: Any, sizes: Any) -> tuple[float, float]:
    n_groups, total = len(sizes), int(hits.sum())
    if n_groups == sizes.sum():
        return wilson(total, n_groups)
    if total in (0, int(sizes.sum())):  # nothing varies, so nothing can be resampled
        return wilson(n_groups if total else 0, n_groups)
    found = estimate(hits, sizes, resamples(n_groups, CONFIG), CONFIG.confidence)
    return found.low, found.high
