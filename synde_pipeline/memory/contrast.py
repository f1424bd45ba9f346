"""How successful runs of a task and of similar tasks differ from failed ones. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np

from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.lessons import item_of
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig

SIMILAR = 0.5
"""Cosine from which on a failed run's task counts as similar to a successful one's."""
_SAME_TASK = 10.0
"""Added to the cosine of two runs of one task: more than any two tasks can reach, even if their texts are opposites."""
_BLOCK = 512
"""Failed runs compared at once: bounds the memory that similarities take."""
_Z = 1.0
"""Width of the Wilson intervals that must not overlap before a difference becomes a lesson: about 84 % one-sided."""


def by_goal(evidence: Sequence[Delta], embed: EmbedKeys) -> dict[str, list[Delta]]:
    """Runs by goal: the tool that ends a successful run; a failed run joins the successful task most like its own.

    Same task first (similarity 1 with itself), then similar tasks by cosine, else its own last tool.
    """
    wins = [row for row in evidence if row.outcome == "success"]
    groups: dict[str, list[Delta]] = defaultdict(list)
    for row in wins:
        groups[row.path[-1]].append(row)
    losses = [row for row in evidence if row.outcome == "failure"]
    if not wins or not losses:
        return groups
    wins.sort(key=lambda row: row.trace_uid)  # of equally similar ones the largest uid is taken
    number = {task: k for k, task in enumerate(dict.fromkeys(row.task_id for row in evidence))}
    tasks = np.array([number[row.task_id] for row in wins])
    vectors = embed([row.content for row in wins])
    for start in range(0, len(losses), _BLOCK):
        block = losses[start : start + _BLOCK]
        # Rounding keeps the choice independent of the last bits, which batch shape and machine may change.
        cosine = np.round((embed([row.content for row in block]) @ vectors.T).astype(np.float64), 5)  # (block, wins)
        score = cosine + _SAME_TASK * (np.array([number[row.task_id] for row in block])[:, None] == tasks)
        best = len(wins) - 1 - score[:, ::-1].argmax(1)
        for row, win, value in zip(block, best, score.max(1), strict=True):
            groups[wins[win].path[-1] if value >= SIMILAR else row.path[-1]].append(row)
    return groups


def contrasts(goal: str, group: list[Delta], config: MemoryConfig) -> list[MemoryItem]:
    """What successful runs of a goal do and failed ones do not, or the other way round."""
    n_runs = {side: Counter(row.task_id for row in group if row.outcome == side) for side in ("success", "failure")}
    if any(len(tasks) < config.min_tasks for tasks in n_runs.values()):
        return []
    having: dict[str, list[Delta]] = defaultdict(list)
    for row in group:
        for name in _features(row):
            having[name].append(row)
    having.pop(f"call {goal}", None)  # calling the goal itself is what made the group: no lesson
    found: list[tuple[float, str, MemoryItem]] = []
    for feature, with_it in having.items():
        share = {side: _task_share(tasks, with_it, side) for side, tasks in n_runs.items()}
        better, worse = ("success", "failure") if share["success"][0] > share["failure"][0] else ("failure", "success")
        gap = _wilson(*share[better])[0] - _wilson(*share[worse])[1]
        if gap <= 0:
            continue
        does = f"{feature} ({_percent(share['success'])} successful tasks, {_percent(share['failure'])} failed ones)"
        kind, verb = ("strategy", "Do") if better == "success" else ("pitfall", "Avoid")
        texts = (f"{verb} when you {_words(goal)}: {feature}", f"For requests that end in {goal}.", f"{verb}: {does}.")
        found.append((-gap, feature, item_of(group[0], kind, f"tool:{goal}", texts, with_it)))
    return [item for *_, item in sorted(found, key=lambda entry: entry[:2])[: config.max_contrasts]]


def _features(row: Delta) -> set[str]:
    path = row.path
    names = {f"call {tool}" for tool in path}
    names |= {f"call {a} directly before {b}" for a, b in pairwise(path)}
    if row.n_repeated_failures:
        names.add("repeat a failed call unchanged")
    if row.n_tool_errors > 1:
        names.add("run into several tool errors")
    return names


def _task_share(n_runs: Counter[str], having: list[Delta], side: str) -> tuple[float, int]:
    """Mean over tasks of the share of runs with a feature; n tasks (trials are no independent evidence)."""
    n_having = Counter(row.task_id for row in having if row.outcome == side)
    return sum(n / n_runs[task] for task, n in n_having.items()) / len(n_runs), len(n_runs)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson score interval of a share of n tasks (Wilson 1927)."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return centre - half, centre + half


def _percent(share: tuple[float, int]) -> str:
    return f"{share[0]:.0%} of {share[1]}"


def _words(tool: str) -> str:
    return tool.replace("_", " ")
