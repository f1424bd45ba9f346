"""The order of tools that successful runs of a goal share (Agent Workflow Memory). Pure."""

from collections import defaultdict
from collections.abc import Iterable

from synde_pipeline.memory.lessons import item_of
from synde_pipeline.records import Delta, MemoryItem


def workflows(goal: str, group: list[Delta]) -> Iterable[MemoryItem]:
    """The order of tools that most successful tasks of a goal share."""
    wins = [row for row in group if row.outcome == "success"]
    tasks_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in wins:
        tasks_of[row.path].add(row.task_id)
    if not tasks_of:
        return
    path = min(tasks_of, key=lambda p: (-len(tasks_of[p]), len(p), p))
    n_tasks = len({row.task_id for row in wins})
    yield item_of(
        wins[0],
        "workflow",
        f"tool:{goal}",
        (
            f"How to {goal.replace('_', ' ')}",
            f"For requests that end in {goal}.",
            f"Order of tools: {' -> '.join(path)} ({len(tasks_of[path])} of {n_tasks} successful tasks).",
        ),
        wins,
    )
