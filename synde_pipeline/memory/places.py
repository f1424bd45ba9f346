"""The fold of one place: for each tool what to call it with there, or what to avoid. Pure; leaving rows out is exact.

How an option is judged, and why:

* By its newest runs alone: the last days on which at least `min_tasks` tasks tried it. So a convention that changed is
  unlearned by as few tasks as it takes to learn one, and a time-out does not outweigh the days before it.
* It works if at least as many of these tasks say that it worked as say that it failed: a right call may time out.
* It takes `min_tasks` tasks to recommend an option; what to avoid is said as soon as as many tasks failed in any way.
* An option that taught a tool and fails now shows that the tool's convention changed: what failed until the last day on
  which it worked says nothing of today. Else the option that is right since would be warned of.
* What one task alone found to work is a draft of too little support, said where nothing else is.
* A person's word about a tool stands in place of all of this.
* Among options that work, one whose newest runs hold a success beats one whose runs were all lost, then the newer one
  wins: an option that only seems to work (it shows a wrong value) never leads to success.
* An option that enough tasks found to work and that is not said any more is kept, as an item of its own that is retired
  and names its successor. When it is the best one again, it is said again.
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

    @cached_property
    def worked(self) -> list[Delta]:
        """Rows of its successes, of a tool's convention: at least `min_tasks` tasks, else none."""
        rows = [row for row in self.rows if row.kind == "strategy"]
        return rows if len({row.task_id for row in rows}) >= self.min_tasks else []

    @property
    def last_worked(self) -> date:
        """The last day on which it was the convention, as far as is known."""
        return max((row.day for row in self.worked), default=date.min)

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
        yield from _said(options, config.min_tasks)


def _said(options: Sequence[_Option], min_tasks: int) -> Iterator[MemoryItem]:
    """What is said of a tool, and what was until something else took its place."""
    working = [option for option in options if option.works]
    enough = [option for option in working if option.n_tasks >= min_tasks]
    best = max(enough or working, key=lambda option: option.rank, default=None)
    if best and (enough or len(working) == len(options)):
        item = _item(best.saying_so[0], "strategy", best.arguments, best.saying_so)
    else:
        best = None
        avoided = _avoided([option for option in options if not option.works])
        rows = [row for rows in avoided.values() for row in rows]
        item = _item(rows[0], "pitfall", ", ".join(sorted(avoided)), rows)
    yield item
    yield from (_superseded(option, item) for option in options if option.worked and option is not best)


def _avoided(failing: Sequence[_Option]) -> dict[str, list[Delta]]:
    """Options to warn of, with the rows that say so; what failed before a convention changed is none of them."""
    changed = {option.arguments: option.last_worked for option in failing if option.worked}
    found: dict[str, list[Delta]] = {}
    for option in failing:
        last = max((day for other, day in changed.items() if other != option.arguments), default=date.min)
        found[option.arguments] = [row for row in option.saying_so if row.day > last]
    found = {arguments: rows for arguments, rows in found.items() if rows} or {
        o.arguments: o.saying_so for o in failing
    }
    ranked = sorted(found, key=lambda arguments: (-len({row.task_id for row in found[arguments]}), arguments))
    return {arguments: found[arguments] for arguments in ranked[:_MAX_AVOIDED]}


def _superseded(option: _Option, successor: MemoryItem) -> MemoryItem:
    """What was said of a tool until another option took its place."""
    item = _item(option.worked[0], "strategy", option.arguments, option.worked)
    return item.model_copy(
        update={
            "item_id": content_hash([item.domain, item.scope, item.title, item.content])[:16],
            "status": "retired",
            "reason": f"superseded with {successor.item_id}: it was last seen to work on {option.last_worked}",
            "successor": successor.item_id,
        }
    )


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
