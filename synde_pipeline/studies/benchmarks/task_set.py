"""Tasks of a benchmark that others run: whom they may teach, and how they went where a report says so.

A group (an intent's template, a repository's issue) is in one split as a whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pydantic import Field

from synde_pipeline.records import Outcome, Split, split_of
from synde_pipeline.records.base import Record


class Task(Record):
    """One task of a benchmark or of an environment, without anything that a verifier knows."""

    task_id: str = Field(pattern=r"^[^:]+:[^:]+:.+$")
    """`<family>:<domain>:<id>`."""
    text: str
    """As the agent sees it; empty where only trajectories have it."""
    group: str = ""
    """What tasks share that must not be in two splits; empty is a group of its own."""
    scope: str = Field(default="", pattern=r"^$|^[a-z_]+:\S+$")
    """Where it is, as `<kind>:<name>`."""
    outcome: Outcome = "unknown"
    """How a run of it went, where a report says so."""

    @property
    def unit(self) -> str:
        """What is split, and what is independent: `<family>:<domain>:<group>`, or the task itself."""
        family, domain, _ = self.task_id.split(":", 2)
        return f"{family}:{domain}:{self.group}" if self.group else self.task_id

    @property
    def split(self) -> Split:
        """The split of its group, by the hash that every split follows."""
        return split_of(self.unit)


class TaskSet(Record):
    """The tasks of a benchmark."""

    name: str
    tasks: tuple[Task, ...]

    def of_split(self, split: Split) -> list[Task]:
        """Tasks of a split, in order."""
        return [task for task in self.tasks if task.split == split]

    @property
    def groups(self) -> dict[str, list[Task]]:
        """Group -> its tasks."""
        found: dict[str, list[Task]] = defaultdict(list)
        for task in self.tasks:
            found[task.unit].append(task)
        return dict(found)

    def leave_one_out(self) -> Iterator[tuple[str, list[Task], list[Task]]]:
        """Each group with the tasks of all others, and its own: (group, learn from, try)."""
        for name, own in self.groups.items():
            yield name, [task for task in self.tasks if task.unit != name], own

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Tasks by split, scope and outcome."""
        return {
            "split": _counted([task.split for task in self.tasks]),
            "scope": _counted([task.scope for task in self.tasks]),
            "outcome": _counted([task.outcome for task in self.tasks]),
        }

    def torn_by_task_hash(self) -> tuple[int, int]:
        """How many groups of two tasks or more the hash of the task's own id would part, and of how many."""
        large = [tasks for tasks in self.groups.values() if len(tasks) > 1]
        return sum(len({split_of(task.task_id) for task in tasks}) > 1 for tasks in large), len(large)


def _counted(words: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
