"""The fold of one place: for each tool what to call it with there, or what to avoid. Pure; leaving rows out is exact.

How an option is judged, and why:

* By its newest runs alone: the last days on which at least `min_tasks` tasks tried it. So a convention that changed is
  unlearned by as few tasks as it takes to learn one, and a time-out does not outweigh the days before it.
* It works if at least as many of these tasks say that it worked as say that it failed: a right call may time out.
* It takes `min_tasks` tasks to recommend an option; what to avoid is said as soon as as many tasks failed in any way.
* What one task alone found to work is a draft of too little support, said where nothing else is.
* A person's word about a tool stands in place of all of this.
* Among options that work, one whose newest runs hold a success beats one whose runs were all lost, then the newer one
  wins: an option that only seems to work (it shows a wrong value) never leads to success.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from synde_pipeline.memory.sources import persons_word, supports_of
from synde_pipeline.records import Delta, MemoryItem, content_hash
from synde_pipeline.settings import MemoryConfig

_MAX_AVOIDED = 8
"""Options that one pitfall lists: the best supported ones."""


@dataclass(frozen=True)
class _Option:
    """All that is known about calling one tool with these arguments."""

    arguments: str
    rows: Sequence[Delta]
    min_tasks: int

    @cached_property
    def _newest(self) -> list[Delta]:
        """Rows of the last days on which at least `min_tasks` tasks, or else all there are, tried it."""
        newest: list[Delta] = []
        for row in sorted(self.rows, key=lambda row: row.day, reverse=True):
            is_next_day = bool(newest) and row.day < newest[-1].day
            if is_next_day and len({row.task_id for row in newest}) >= self.min_tasks:
                break
            newest.append(row)
        return newest

    @cached_property
    def works(self) -> bool:
        """What its newest runs say of it."""
        return len(_tasks(self._newest, "strategy")) >= len(_tasks(self._newest, "pitfall"))

    @cached_property
    def saying_so(self) -> list[Delta]:
        """Rows that agree with the verdict."""
        return [row for row in self.rows if row.kind == ("strategy" if self.works else "pitfall")]

    @property
    def n_tasks(self) -> int:
        """Distinct tasks that agree with the verdict."""
        return len({row.task_id for row in self.saying_so})

    @property
    def rank(self) -> tuple[bool, date, int, str]:
        """Order among options that work: the best one is the largest."""
        led_to_success = any(row.kind == "strategy" and row.outcome == "success" for row in self._newest)
        return led_to_success, max(row.day for row in self.saying_so), self.n_tasks, self.arguments


def _tasks(rows: Sequence[Delta], kind: str) -> set[str]:
    return {row.task_id for row in rows if row.kind == kind}


def fold_place(rows: Sequence[Delta], config: MemoryConfig) -> Iterator[MemoryItem]:
    """One item a tool: the option that works there, else those that do not.

    Args:
        rows: ADD rows of one place, in canonical order.
        config: how many tasks it takes.
    """
    tools: dict[str, dict[str, list[Delta]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        tools[row.title][row.content].append(row)
    for found in tools.values():
        person = persons_word([row for rows in found.values() for row in rows])
        if person:
            agreeing = [row for row in found[person.content] if row.kind == person.kind]
            yield _item(person, person.kind, person.content, agreeing)
            continue
        options = [_Option(arguments, tried, config.min_tasks) for arguments, tried in found.items()]
        working = [option for option in options if option.works]
        enough = [option for option in working if option.n_tasks >= config.min_tasks]
        failing = [option for option in options if not option.works]
        if enough or not failing:
            yield _chosen("strategy", [max(enough or working, key=lambda option: option.rank)])
        else:
            failing.sort(key=lambda option: (-option.n_tasks, option.arguments))
            yield _chosen("pitfall", failing[:_MAX_AVOIDED])


def _chosen(kind: str, options: Sequence[_Option]) -> MemoryItem:
    rows = [row for option in options for row in option.saying_so]
    return _item(rows[0], kind, ", ".join(sorted(option.arguments for option in options)), rows)


def _item(like: Delta, kind: str, content: str, rows: Sequence[Delta]) -> MemoryItem:
    return MemoryItem(
        item_id=content_hash([like.domain, like.scope, like.title])[:16],
        domain=like.domain,
        kind=kind,
        scope=like.scope,
        title=like.title,
        description=like.description,
        content=content,
        supports=supports_of(rows),
    )
