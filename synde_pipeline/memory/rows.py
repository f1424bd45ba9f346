"""Rows of the ledger as the fold reads them: what is drafted together, in canonical order; slim edits. Pure.

A unit is what is drafted apart: all that one place taught, the lessons of one kind and scope, or a domain's runs. An
item's text rests on rows of its own unit alone, so one more day redrafts only the units that it touches.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

from synde_pipeline.memory.sources import HUMAN, SOURCE
from synde_pipeline.memory.tags import Tags, distinct, shown_id
from synde_pipeline.records import Delta, place_of

RUNS = "runs"
EDITING = ("UPDATE", "SUPERSEDE")
NEVER = datetime.min.replace(tzinfo=UTC)


class Unit(NamedTuple):
    """What is drafted apart."""

    place: str
    """Scope of the place; empty for what holds all over the domain."""
    kind: str
    """Of lessons, or `runs`; empty at a place."""
    scope: str


class Row(NamedTuple):
    """An ADD or EVIDENCE; canonical order is by effective day, then id."""

    effective_day: date
    delta_id: str
    unit: Unit
    delta: Delta


class Edit(NamedTuple):
    """An UPDATE or SUPERSEDE, in the order in which edits count: the last one wins."""

    effective_day: date
    at: datetime
    delta_id: str
    day: date
    op: str
    source: str
    task_id: str
    trace_uid: str
    target: str
    value: str
    title: str
    description: str
    content: str

    @property
    def is_human(self) -> bool:
        """Whether a person made it."""
        return self.source == HUMAN

    @property
    def texts(self) -> dict[str, str]:
        """The new texts; what is empty stays as it was, but for a description that was emptied."""
        new = {"title": self.title, "description": self.description, "content": self.content}
        return {name: text for name, text in new.items() if text or (self.value == "bare" and name == "description")}


@dataclass(frozen=True)
class Domain:
    """Rows and tags of one domain."""

    rows: Sequence[Row]
    tags: Tags

    @cached_property
    def units(self) -> dict[Unit, list[Row]]:
        """The rows of each unit, in canonical order."""
        units: dict[Unit, list[Row]] = defaultdict(list)
        for row in sorted(self.rows, key=itemgetter(0, 1)):
            units[row.unit].append(row)
        return dict(sorted(units.items()))

    @cached_property
    def days(self) -> list[date]:
        """Days from which its rows and tags count, sorted."""
        tags = map(date.fromordinal, distinct(self.tags.effective_day))
        return sorted({*tags, *(row.effective_day for row in self.rows)})

    @cached_property
    def tasks(self) -> frozenset[str]:
        """Tasks that left a row other than a tag."""
        return frozenset(row.delta.task_id for row in self.rows)


def seen(rows: Sequence[Row], as_of: date, without_task: str | None) -> Sequence[Row]:
    """What is known of sorted rows as of a day; a task that is left out is not there at all."""
    known = rows[: bisect_right(rows, as_of, key=itemgetter(0))]
    return known if without_task is None else [row for row in known if row.delta.task_id != without_task]


def unit_of(delta: Delta) -> Unit:
    """What an ADD or EVIDENCE is drafted with."""
    if place_of(delta.scope):
        return Unit(delta.scope, "", "")
    return Unit("", RUNS, "") if delta.op == "EVIDENCE" else Unit("", delta.kind, delta.scope)


def by_target(edits: Iterable[Edit]) -> dict[str, tuple[Edit, ...]]:
    """Target without its version -> its edits, in the order in which they count."""
    found: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        found[edit.target if edit.target.startswith(SOURCE) else shown_id(edit.target)].append(edit)
    return {target: tuple(sorted(edits)) for target, edits in found.items()}
