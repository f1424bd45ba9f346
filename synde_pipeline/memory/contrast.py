"""How successful runs differ from failed ones: trials of the same task first, then runs of similar tasks. Pure."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from synde_pipeline.memory.divergence import Parting, advice_of, n_tasks, opposite, partings
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.lessons import item_of
from synde_pipeline.memory.workflows import Sources, goal_of, words
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.reflection.reading import is_read
from synde_pipeline.settings import MemoryConfig

SIMILAR = 0.5
"""Cosine from which on a failed run's task counts as similar to a successful one's."""
_SAME_TASK = 10.0
"""Added to the cosine of two runs of one task: more than any two tasks can reach, even if their texts are opposites."""
_BLOCK = 512
"""Failed runs compared at once: bounds the memory that similarities take."""
_Z = 1.96
"""Width of the Wilson intervals: many features are compared, few may pass by chance."""


_HALF = 0.5


class _Difference(NamedTuple):
    """A feature that one side has more often."""

    gap: float
    tool: str
    phrase: str
    is_done: bool
    """Whether it is the successful side's."""
    numbers: str
    rows: list[Delta]


def contrasts(runs: Sequence[Delta], config: MemoryConfig, embed: EmbedKeys) -> Iterator[MemoryItem]:
    """What successful runs do and failed ones do not, or the other way round.

    Trials of one task differ in nothing but what the agents did: what they show is not looked for again among tasks
    that are only similar.
    """
    if not runs:
        return
    either = Sources(runs).alternatives
    trials = _trials(runs)
    within = [*_within_tasks(trials)]
    known = {(found.tool, found.phrase) for found in within if found.gap > 0}
    for found in _best(within, either, config):
        advice = _advice(found.tool, found.phrase, is_done=found.is_done)
        scope = f"tool:{found.tool}" if found.tool else ""
        description = f"Whenever {found.tool} is an option." if found.tool else "For every task."
        texts = (advice, description, found.numbers)
        yield item_of(runs[0], "strategy" if found.is_done else "pitfall", scope, texts, found.rows)
    yield from _first_partings(trials, either, config)
    for goal, group in by_goal([row for row in runs if row.path], embed).items():
        between = (found for found in _between_tasks(goal, group, config) if (found.tool, found.phrase) not in known)
        for found in _best(between, either, config):
            advice = _advice(found.tool, found.phrase, is_done=found.is_done)
            description = f"For requests that end in {goal}; not for others."
            texts = (f"To {words(goal)}: {advice[0].lower()}{advice[1:]}", description, found.numbers)
            yield item_of(group[0], "strategy" if found.is_done else "pitfall", f"tool:{goal}", texts, found.rows)


def by_goal(runs: Sequence[Delta], embed: EmbedKeys) -> dict[str, list[Delta]]:
    """Runs by goal: the last change that a successful run made; a failed run joins the success most like its own.

    Same task first (similarity 1 with itself), then similar tasks by cosine, else its own last change.
    """
    wins = [row for row in runs if row.outcome == "success"]
    groups: dict[str, list[Delta]] = defaultdict(list)
    for row in wins:
        groups[goal_of(row.path)].append(row)
    losses = [row for row in runs if row.outcome == "failure"]
    if not wins or not losses:
        return groups
    wins.sort(key=lambda row: row.trace_uid)  # of equally similar ones the largest uid is taken
    number = {task: k for k, task in enumerate(dict.fromkeys(row.task_id for row in runs))}
    tasks = np.array([number[row.task_id] for row in wins])
    vectors = embed([row.content for row in wins])
    for start in range(0, len(losses), _BLOCK):
        block = losses[start : start + _BLOCK]
        # Rounding keeps the choice independent of the last bits, which batch shape and machine may change.
        cosine = np.round((embed([row.content for row in block]) @ vectors.T).astype(np.float64), 5)  # (block, wins)
        score = cosine + _SAME_TASK * (np.array([number[row.task_id] for row in block])[:, None] == tasks)
        best = len(wins) - 1 - score[:, ::-1].argmax(1)
        for row, win, value in zip(block, best, score.max(1), strict=True):
            groups[goal_of(wins[win].path if value >= SIMILAR else row.path)].append(row)
    return groups


def _trials(runs: Sequence[Delta]) -> list[dict[str, list[Delta]]]:
    """Runs by outcome, of each task that has both."""
    found: dict[str, dict[str, list[Delta]]] = defaultdict(dict)
    for row in runs:
        found[row.task_id].setdefault(row.outcome, []).append(row)
    return [sides for sides in found.values() if len(sides) > 1]


def _first_partings(
    trials: Sequence[dict[str, list[Delta]]], either: dict[str, str], config: MemoryConfig
) -> Iterator[MemoryItem]:
    """The steps at which failed trials first left the way of successful ones, if the tasks agree on the better way."""
    found = partings(trials, either)
    clear: list[tuple[int, Parting, int]] = []
    for parting, rows in found.items():
        n, n_against = n_tasks(rows), n_tasks(found.get(opposite(parting), ()))
        if n >= config.min_tasks and _wilson(n / (n + n_against), n + n_against)[0] > _HALF:
            clear.append((-n, parting, n + n_against))
    for less_n, parting, total in sorted(clear)[: config.max_contrasts]:
        advice = advice_of(parting)
        numbers = f"Of {total} tasks whose trials parted there, {-less_n} were won that way."
        texts = (advice, f"For tasks in which {parting.won} is an option.", numbers)
        yield item_of(found[parting][0], "strategy", f"tool:{parting.won}", texts, found[parting])


def _within_tasks(trials: Sequence[dict[str, list[Delta]]]) -> Iterator[_Difference]:
    """Features that the successful trials of a task have more often than its failed ones, or less, in most tasks."""
    more: dict[tuple[str, str], dict[str, list[list[Delta]]]] = defaultdict(lambda: defaultdict(list))
    for sides in trials:
        having = {side: _by_feature(rows) for side, rows in sides.items()}
        for feature in having["success"].keys() | having["failure"].keys():
            share = {side: len(having[side].get(feature, ())) / len(rows) for side, rows in sides.items()}
            if share["success"] != share["failure"]:
                side = max(share, key=lambda side: share[side])
                more[feature][side].append(having[side][feature])
    for (tool, phrase), tasks in more.items():
        n = {side: len(tasks[side]) for side in ("success", "failure")}
        side = max(n, key=lambda side: n[side])
        total = sum(n.values())
        gap = _wilson(n[side] / total, total)[0] - _HALF
        who = "successful trials did so" if side == "success" else "failed trials did otherwise"
        numbers = f"Of {total} tasks whose trials differed in this, the {who} in {n[side]}."
        yield _Difference(gap, tool, phrase, side == "success", numbers, [row for rows in tasks[side] for row in rows])


def _between_tasks(goal: str, group: list[Delta], config: MemoryConfig) -> Iterator[_Difference]:
    """Features whose shares of successful and of failed tasks of a goal lie apart."""
    n_runs = {side: Counter(row.task_id for row in group if row.outcome == side) for side in ("success", "failure")}
    if any(len(tasks) < config.min_tasks for tasks in n_runs.values()):
        return
    for (tool, phrase), with_it in _by_feature(group).items():
        if tool == goal and phrase.startswith(("call it", "works when")):
            continue  # calling the goal itself is what made the group: no lesson
        share = {side: _task_share(tasks, with_it, side) for side, tasks in n_runs.items()}
        better, worse = ("success", "failure") if share["success"][0] > share["failure"][0] else ("failure", "success")
        gap = _wilson(*share[better])[0] - _wilson(*share[worse])[1]
        numbers = f"Done in {_percent(share['success'])} successful tasks, {_percent(share['failure'])} failed ones."
        yield _Difference(gap, tool, phrase, better == "success", numbers, with_it)


def _best(found: Iterable[_Difference], no_choice: Container[str], config: MemoryConfig) -> list[_Difference]:
    """The clearest differences that can be lessons."""
    clear = [difference for difference in found if difference.gap > 0 and _can_teach(difference, no_choice)]
    distinct: dict[frozenset[str], _Difference] = {}
    for difference in sorted(clear, key=lambda difference: (-difference.gap, difference[1:3])):
        tasks = frozenset(row.task_id for row in difference.rows)
        if len(tasks) >= config.min_tasks:  # what the same tasks show of one tool is one thing in other words
            distinct.setdefault(frozenset({*tasks, difference.tool}), difference)
    return [*distinct.values()][: config.max_contrasts]


def _can_teach(difference: _Difference, no_choice: Container[str]) -> bool:
    """Looking something up cannot have spoiled an outcome; and which of two tools that find the same is no lesson."""
    if difference.is_done:
        return (difference.phrase, difference.tool in no_choice) != ("call it", True)
    return not is_read(difference.tool)


def _by_feature(rows: Sequence[Delta]) -> dict[tuple[str, str], list[Delta]]:
    """(tool, phrase) -> the rows that have it; where arguments came from is for workflows."""
    having: dict[tuple[str, str], list[Delta]] = defaultdict(list)
    for row in rows:
        found = {(tool, "call it") for tool in row.path}
        found |= {(tool, phrase) for tool, _, phrase in (text.partition(": ") for text in row.features)}
        if row.n_repeated_failures:
            found.add(("", "repeat a failed call unchanged"))
        for feature in sorted(found):
            if not feature[1].startswith("take "):
                having[feature].append(row)
    return having


def _advice(tool: str, phrase: str, *, is_done: bool) -> str:
    """The feature as an imperative."""
    if phrase == "call it several times" and not is_done:
        return f"Call {tool} once at most"
    if phrase.startswith(("works when ", "is refused when ")):
        sentence = f"call {tool} when {phrase.partition(' when ')[2]}"
    elif phrase.startswith("look up "):
        sentence = f"{phrase}, with {tool}"
    else:
        sentence = phrase.replace(" it", f" {tool}", 1)
    return f"{sentence[0].upper()}{sentence[1:]}" if is_done else f"Do not {sentence}"


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
