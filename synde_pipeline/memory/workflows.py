"""Steps that successful runs of a goal share, with where their arguments come from (Agent Workflow Memory). Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from synde_pipeline.memory.lessons import item_of
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.reflection.reading import is_read
from synde_pipeline.settings import MemoryConfig

Path = tuple[str, ...]

_MAX_PATHS = 24
"""Distinct paths of a goal that are intersected: those of the most tasks."""
_MAX_WORKFLOWS = 2
"""Workflows kept for a goal."""
_OR = " or "
"""Between tools that look up the same and are one step."""
_SCRATCH = frozenset({"calculate", "think"})
"""Tools that help to think anywhere: no step of a workflow."""


def words(tool: str) -> str:
    """A tool's name as words."""
    return tool.replace("_", " ")


def goal_of(path: Path) -> str:
    """What a run was for: the last tool that changes something, else the last tool."""
    return next((tool for tool in reversed(path) if not is_read(tool)), path[-1])


def plain_path(path: Path, either: Mapping[str, str]) -> Path:
    """A path without tools that only help to think, and with one name for tools that look up the same."""
    return tuple(either.get(tool, tool) for tool in path if tool not in _SCRATCH)


class Sources:
    """Which results the arguments of calls were taken from, as the runs' features say it."""

    def __init__(self, runs: Sequence[Delta]) -> None:
        """Collect the sources of some runs."""
        self._tasks: dict[tuple[str, str], dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
        for row in runs:
            for text in row.features:
                tool, _, phrase = text.partition(": take ")
                if phrase:
                    argument, _, origin = phrase.partition(" from ")
                    field, _, source = origin.rpartition(" of ")
                    self._tasks[tool, argument][field, source].add(row.task_id)

    def of(self, tool: str, n_tasks: int, names: Mapping[str, str]) -> list[str]:
        """`order_id from orders of get_user_details`, for each argument whose commonest source has enough tasks.

        Args:
            tool: whose arguments.
            n_tasks: that show a source.
            names: what a source is called instead.
        """
        found = []
        for (user, argument), sources in sorted(self._tasks.items()):
            if user == tool:
                (field, source), tasks = min(sources.items(), key=lambda pair: (-len(pair[1]), pair[0]))
                if len(tasks) >= n_tasks:
                    found.append(f"{argument} from {field} of {names.get(source, source)}")
        return found

    @property
    def alternatives(self) -> dict[str, str]:
        """Tools that look up the same field for the same argument -> how they are called together: `a or b`."""
        together: dict[str, frozenset[str]] = {}
        for sources in self._tasks.values():
            by_field: dict[str, set[str]] = defaultdict(set)
            for field, source in sources:
                if is_read(source):
                    by_field[field].add(source)
            for tools in by_field.values():
                joined = frozenset(tools).union(*(together.get(tool, ()) for tool in tools))
                together |= dict.fromkeys(joined, joined)
        return {tool: _OR.join(sorted(tools)) for tool, tools in together.items() if len(tools) > 1}


def workflows(runs: Sequence[Delta], config: MemoryConfig) -> Iterator[MemoryItem]:
    """For each goal the steps that most successful tasks share, and another way if enough tasks took it."""
    either = Sources(runs).alternatives
    by_goal: dict[str, list[tuple[Path, Delta]]] = defaultdict(list)
    for row in runs:
        path = plain_path(row.path, either)
        if row.outcome == "success" and path:
            for goal in {tool for tool in path if not is_read(tool)} or {path[-1]}:
                by_goal[goal].append((_way_to(goal, path), row))
    shared = {goal: _shared(found, config.min_tasks) for goal, found in sorted(by_goal.items())}
    every = [(path, _tasks(rows)) for ways in shared.values() for path, rows in ways]
    for goal, ways in shared.items():
        n_tasks = len(_tasks(row for _, row in by_goal[goal]))
        for path, rows in ways:
            tasks = _tasks(rows)
            wholes = [held for other, held in every if path != other and _holds(other, path)]
            if any(is_read(goal) or tasks <= held for held in wholes) or _OR in goal:
                continue  # a part of what leads to another goal
            extra = [tool for tool in path if tool not in ways[0][0]]
            title = f"How to {words(goal)}" + (f", with {words(extra[0])}" if extra else "")
            steps = f"{_steps(path, rows)} ({len(tasks)} of {n_tasks} successful tasks)"
            texts = (title, f"For requests that need {goal}; not for others.", steps)
            yield item_of(rows[0], "workflow", f"tool:{goal}", texts, rows)


def _tasks(rows: Iterable[Delta]) -> set[str]:
    return {row.task_id for row in rows}


def _way_to(goal: str, path: Path) -> Path:
    """Tools up to the first call of the goal, each where it was first called."""
    return (*dict.fromkeys(path[: path.index(goal)]), goal)


def _shared(found: list[tuple[Path, Delta]], min_tasks: int) -> list[tuple[Path, list[Delta]]]:
    """Closed common subsequences of two steps or more, by tasks times steps, none within another one that is kept.

    Candidates are the paths and the longest common subsequences of any two of them, so a sequence that only three or
    more paths share exactly may be missed. Each counts the tasks of all runs that hold it.
    """
    tasks_of: dict[Path, set[str]] = defaultdict(set)
    for path, row in found:
        tasks_of[path].add(row.task_id)
    every = set().union(*tasks_of.values())
    paths = sorted(tasks_of, key=lambda path: (-len(tasks_of[path]), len(path), path))[:_MAX_PATHS]
    candidates = set(paths) | {_common(a, b) for a, b in combinations(paths, 2)}
    held = {
        candidate: set().union(*(tasks for path, tasks in tasks_of.items() if _holds(path, candidate)))
        for candidate in candidates
        if len(candidate) > 1
    }
    kept: list[Path] = []
    for path in sorted(held, key=lambda path: (-len(held[path]) * (len(path) - 1), path)):
        n_enough = max(min_tasks, -(-len(every) // 4) if kept else 0)
        is_new = not any(_holds(k, path) or set(path) <= set(k) or _holds(path, k) for k in kept)
        if is_new and len(held[path]) >= n_enough:
            kept.append(path)
    return [(path, [row for whole, row in found if _holds(whole, path)]) for path in kept[:_MAX_WORKFLOWS]]


@lru_cache(maxsize=2**14)  # folds of neighbouring days, and without one task, meet the same paths
def _common(a: Path, b: Path) -> Path:
    """Longest common subsequence; of equally long ones the first in order."""
    best: dict[tuple[int, int], Path] = {}
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            if a[i] == b[j]:
                best[i, j] = (a[i], *best.get((i + 1, j + 1), ()))
            else:
                best[i, j] = min(best.get((i + 1, j), ()), best.get((i, j + 1), ()), key=lambda p: (-len(p), p))
    return best.get((0, 0), ())


def _holds(path: Path, part: Path) -> bool:
    """Whether `part` is a subsequence of `path`."""
    rest = iter(path)
    return all(tool in rest for tool in part)


def _steps(path: Path, rows: Sequence[Delta]) -> str:
    """The steps, numbered, each with where its arguments come from."""
    sources = Sources(rows)
    n_enough = max(2, len(_tasks(rows)) // 3)
    number = {tool: f"step {n}" for n, step in enumerate(path, 1) for tool in step.split(_OR)}
    parts = []
    for n, step in enumerate(path, 1):
        arguments = [text for tool in step.split(_OR) for text in sources.of(tool, n_enough, number)]
        parts.append(f"{n}. {step}" + (f" ({', '.join(dict.fromkeys(arguments))})" if arguments else ""))
    return " ".join(parts)
