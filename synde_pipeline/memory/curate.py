"""The fold: a set of deltas -> the bank. Pure, and the same for every order in which the deltas arrived (laws 1, 2).

Everything that needs more than one trajectory is decided here: what counts as support, how successful runs of a task
and of similar tasks differ from failed ones, which order of tools reaches a goal. What holds at one place is in
`places`, which rows are seen in `ledger`; storing deltas is in `store`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.ledger import Key, sections_of
from synde_pipeline.memory.places import fold_place, supports_of
from synde_pipeline.records import Delta, MemoryItem, Reflection, content_hash, place_of, split_of
from synde_pipeline.settings import MemoryConfig

EmbedKeys = Callable[[list[str]], NDArray[np.float32]]
"""Texts -> unit vectors (n, 384)."""

SIMILAR = 0.5
"""Cosine from which on a failed run's task counts as similar to a successful one's."""
_SAME_TASK = 10.0
"""Added to the cosine of two runs of one task: more than any two tasks can reach, even if their texts are opposites."""
_BLOCK = 512
"""Failed runs compared at once: bounds the memory that similarities take."""
_Z = 1.0
"""Width of the Wilson intervals that must not overlap before a difference becomes a lesson: about 84 % one-sided."""


@dataclass(frozen=True)
class Bank:
    """The memory as of a day."""

    as_of: date
    items: tuple[MemoryItem, ...]
    n_deltas: int

    @cached_property
    def bank_hash(self) -> str:
        """Content hash: equal items in canonical order."""
        return content_hash([item.model_dump(mode="json") for item in self.items])


def deltas_of(reflection: Reflection, day: date) -> list[Delta]:
    """The deltas of one reflection: one ADD per lesson and one EVIDENCE row; none unless its task is for training.

    A run that taught something about a place is evidence there, not all over its domain.
    """
    if split_of(reflection.task_id) != "train":
        return []
    common = {
        "day": day,
        "effective_day": reflection.effective_day,
        "domain": reflection.domain,
        "task_id": reflection.task_id,
        "trace_uid": reflection.trace_uid,
        "outcome": reflection.outcome,
    }
    adds = [Delta(op="ADD", **common, **lesson.model_dump()) for lesson in reflection.lessons]
    evidence = Delta(
        op="EVIDENCE",
        **common,
        scope=next((lesson.scope for lesson in reflection.lessons if place_of(lesson.scope)), ""),
        content=reflection.task,
        path=reflection.path,
        n_tool_errors=reflection.n_tool_errors,
        n_repeated_failures=reflection.n_repeated_failures,
    )
    return [*adds, evidence]


def fold(
    deltas: Iterable[Delta], as_of: date, config: MemoryConfig, embed: EmbedKeys, *, without_task: str | None = None
) -> Bank:
    """Fold all deltas known as of a day into the bank.

    Leaving a task out is exact: its deltas are not there at all, so no text or count can stem from them (law 2).

    Args:
        deltas: any order, repeats allowed.
        as_of: deltas with a later effective day are not seen.
        config: support threshold and limits.
        embed: embeds tasks, to find similar ones.
        without_task: task that the memory must know nothing of.
    """
    items: list[MemoryItem] = []
    n_deltas = 0
    for key, section in sections_of(deltas).items():
        rows = section.seen(section.cut(as_of, without_task))
        items += fold_section(key, rows, config, embed)
        n_deltas += len(rows)
    return bank_of(as_of, items, n_deltas)


def bank_of(as_of: date, items: Iterable[MemoryItem], n_deltas: int) -> Bank:
    """Put the items of all sections together, in canonical order."""
    return Bank(as_of, tuple(sorted(items, key=lambda item: (item.domain, item.item_id))), n_deltas)


def fold_section(key: Key, rows: Sequence[Delta], config: MemoryConfig, embed: EmbedKeys) -> list[MemoryItem]:
    """Fold the rows of one section, given in canonical order, into its items."""
    adds = [row for row in rows if row.op == "ADD"]
    if key[1]:
        items = [*fold_place(adds, config)]
    else:
        items = [*_lessons(adds)]
        runs = [row for row in rows if row.op == "EVIDENCE" and row.outcome in ("success", "failure") and row.path]
        for goal, group in _groups(runs, embed).items():
            items += _workflows(goal, group)
            items += _contrasts(goal, group, config)
    return [item for item in items if len(item.task_ids) >= config.min_tasks]


def _item(like: Delta, kind: str, scope: str, texts: tuple[str, str, str], rows: Sequence[Delta]) -> MemoryItem:
    title, description, content = texts
    return MemoryItem(
        item_id=content_hash([like.domain, kind, scope, title])[:16],
        domain=like.domain,
        kind=kind,
        scope=scope,
        title=title,
        description=description,
        content=content,
        supports=supports_of(rows),
    )


def _lessons(adds: Iterable[Delta]) -> Iterable[MemoryItem]:
    """ADDs of one subject become one item that lists each piece of advice with its tasks, best supported first."""
    groups: dict[tuple[str, str, str, str], list[Delta]] = defaultdict(list)
    for delta in adds:
        groups[delta.domain, delta.kind, delta.scope, delta.title].append(delta)
    for (_, kind, scope, title), rows in groups.items():
        tasks = {row.task_id for row in rows}
        advice = Counter(content for content, _ in {(row.content, row.task_id) for row in rows})
        ranked = sorted(advice.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
        content = " ".join(f"{text} ({n} of {len(tasks)} tasks)" for text, n in ranked)
        yield _item(rows[0], kind, scope, (title, rows[0].description, content), rows)


def _groups(evidence: Sequence[Delta], embed: EmbedKeys) -> dict[str, list[Delta]]:
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


def _workflows(goal: str, group: list[Delta]) -> Iterable[MemoryItem]:
    """The order of tools that most successful tasks of a goal share."""
    wins = [row for row in group if row.outcome == "success"]
    tasks_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in wins:
        tasks_of[row.path].add(row.task_id)
    if not tasks_of:
        return
    path = min(tasks_of, key=lambda p: (-len(tasks_of[p]), len(p), p))
    n_tasks = len({row.task_id for row in wins})
    yield _item(
        wins[0],
        "workflow",
        f"tool:{goal}",
        (
            f"How to {_words(goal)}",
            f"For requests that end in {goal}.",
            f"Order of tools: {' -> '.join(path)} ({len(tasks_of[path])} of {n_tasks} successful tasks).",
        ),
        wins,
    )


def _contrasts(goal: str, group: list[Delta], config: MemoryConfig) -> list[MemoryItem]:
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
        found.append((-gap, feature, _item(group[0], kind, f"tool:{goal}", texts, with_it)))
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
