"""The fold of one place: for each tool what to call it with there, or what to avoid. Pure; leaving rows out is exact.

How an option is judged, and why:

* By its newest runs alone: the last days on which at least `min_tasks` tasks tried it. So a convention that changed is
  unlearned by as few tasks as it takes to learn one, and a time-out does not outweigh the days before it.
* It works if at least as many of these tasks say that it worked as say that it failed: a right call may time out.
* It takes `min_tasks` tasks to recommend an option; what to avoid is said as soon as as many tasks failed in any way.
* Among options that work, one whose newest runs hold a success beats one whose runs were all lost, then the newer one
  wins: an option that only seems to work (it shows a wrong value) never leads to success.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

from synde_pipeline.records import Delta, MemoryItem, Outcome, Support, content_hash
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
        options = [_Option(arguments, tried, config.min_tasks) for arguments, tried in found.items()]
        working = [option for option in options if option.works and option.n_tasks >= config.min_tasks]
        failing = [option for option in options if not option.works]
        if working:
            yield _item("strategy", [max(working, key=lambda option: option.rank)])
        elif failing:
            failing.sort(key=lambda option: (-option.n_tasks, option.arguments))
            yield _item("pitfall", failing[:_MAX_AVOIDED])


def _item(kind: str, options: Sequence[_Option]) -> MemoryItem:
    rows = [row for option in options for row in option.saying_so]
    like = rows[0]
    return MemoryItem(
        item_id=content_hash([like.domain, like.scope, like.title])[:16],
        domain=like.domain,
        kind=kind,
        scope=like.scope,
        title=like.title,
        description=like.description,
        content=", ".join(sorted(option.arguments for option in options)),
        supports=supports_of(rows),
    )


def supports_of(rows: Sequence[Delta]) -> tuple[Support, ...]:
    """The trajectories behind rows, each once, in canonical order."""
    by_uid = {row.trace_uid: row for row in rows}
    return tuple(_support(row.task_id, uid, row.outcome) for uid, row in sorted(by_uid.items()))


@lru_cache(maxsize=2**16)  # a trajectory supports many items of many banks
def _support(task_id: str, trace_uid: str, outcome: Outcome) -> Support:
    return Support(task_id=task_id, trace_uid=trace_uid, outcome=outcome)
