"""The ledger as the fold reads it: rows as records, edits slim, tags as columns; cut by domain and by unit.

A unit is what is drafted apart: all that one place taught, the lessons of one kind and scope, or a domain's runs. An
item's text rests on rows of its own unit alone, so one more day redrafts only the units that it touches.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from synde_pipeline.memory.store import records_of
from synde_pipeline.memory.tags import Codes, Mask, Tags, coded, shown_id, tags_in, tags_of
from synde_pipeline.records import Delta, place_of

RUNS = "runs"
HUMAN = "human"
SOURCE = "source:"
"""Prefix of an edit's target that is a source system."""
_EDITS = ("UPDATE", "SUPERSEDE")
_NEVER = datetime.min.replace(tzinfo=UTC)


class Unit(NamedTuple):
    """What is drafted apart."""

    place: str
    """Scope of the place; empty for what holds all over the domain."""
    kind: str
    """Of lessons, or `runs`; empty at a place."""
    scope: str


class Row(NamedTuple):
    """An ADD or EVIDENCE in canonical order: effective day, then id."""

    effective_day: date
    delta_id: str
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
        """The new texts; what is empty stays as it was."""
        new = {"title": self.title, "description": self.description, "content": self.content}
        return {name: text for name, text in new.items() if text}


@dataclass(frozen=True)
class Ledger:
    """All rows, each once."""

    rows: tuple[Row, ...]
    edits: tuple[Edit, ...]
    tags: Tags
    codes: Codes = field(repr=False)

    @classmethod
    def of(cls, deltas: Iterable[Delta], codes: Codes | None = None) -> "Ledger":
        """Deltas in any order, with any repeats."""
        codes = Codes() if codes is None else codes
        unique = list(dict.fromkeys(deltas))
        rows = (Row(d.effective_day, d.delta_id, d) for d in unique if d.op in ("ADD", "EVIDENCE"))
        edits = [delta for delta in unique if delta.op in _EDITS]
        columns = [[getattr(edit, name) for edit in edits] for name in Edit._fields]
        return cls(tuple(rows), _edits(columns), tags_of([d for d in unique if d.op == "TAG"], codes), codes)

    @classmethod
    def read(cls, table: pa.Table, codes: Codes | None = None) -> "Ledger":
        """A table of deltas; their ids are the stored ones."""
        codes = Codes() if codes is None else codes
        table = _unique(table)
        kind = coded(table["op"], lambda op: 0 if op == "TAG" else 1 if op in _EDITS else 2)
        tags, edits, others = (table.filter(pa.array(kind == which)) for which in range(3))
        named = zip(others["delta_id"].to_pylist(), records_of(others), strict=True)
        rows = (Row(delta.effective_day, delta_id, delta) for delta_id, delta in named)
        columns = [edits[name].to_pylist() for name in Edit._fields]
        return cls(tuple(rows), _edits(columns), tags_in(tags, codes), codes)

    def replaced(self, day: date, rows: "Iterable[Delta] | pa.Table") -> "Ledger":
        """The ledger with one day's rows replaced as a whole."""
        new = Ledger.read(rows, self.codes) if isinstance(rows, pa.Table) else Ledger.of(rows, self.codes)
        kept = self.tags.where(self.tags.day != day.toordinal())
        return replace(
            self,
            rows=(*(row for row in self.rows if row.delta.day != day), *new.rows),
            edits=(*(edit for edit in self.edits if edit.day != day), *new.edits),
            tags=kept.with_rows(new.tags),
        )

    # -- as the fold sees it ------------------------------------------------------------------------------------

    @cached_property
    def _spoken(self) -> tuple[Mask, Mask, Mask]:
        """Which rows, edits and tags count: a uid that two days hold (one of them stale) speaks from its first day."""
        said = [
            *((row.delta.trace_uid, row.delta.day) for row in self.rows),
            *((e.trace_uid, e.day) for e in self.edits),
        ]
        uids = coded([uid for uid, _ in said], self.codes.number)
        days = np.array([day.toordinal() for _, day in said], np.int32)
        first = np.full(len(self.codes), np.iinfo(np.int32).max, np.int32)
        np.minimum.at(first, uids, days)
        np.minimum.at(first, self.tags.uid, self.tags.day)
        rows, edits = np.split(first[uids] == days, [len(self.rows)])
        return rows, edits, first[self.tags.uid] == self.tags.day

    @cached_property
    def domains(self) -> dict[str, "Domain"]:
        """The rows and tags of each domain."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in compress(self.rows, self._spoken[0]):
            rows[row.delta.domain].append(row)
        tags = self.tags.where(self._spoken[2])
        tags_by = {int(code): tags.where(tags.domain == code) for code in np.unique(tags.domain)}
        names = sorted({*rows, *(self.codes.names[code] for code in tags_by)})
        none = tags.where(np.zeros(len(tags), np.bool_))
        return {name: Domain(rows.get(name, []), tags_by.get(self.codes.get(name), none)) for name in names}

    @cached_property
    def edits_of(self) -> dict[str, list[Edit]]:
        """Target without its version -> its edits, in the order in which they count."""
        found: dict[str, list[Edit]] = defaultdict(list)
        for edit in compress(self.edits, self._spoken[1]):
            found[shown_id(edit.target)].append(edit)
        for edits in found.values():
            edits.sort()
        return found

    @cached_property
    def edit_days(self) -> list[date]:
        """Days from which edits count, sorted."""
        return sorted({edit.effective_day for edit in self.edits})

    @cached_property
    def edit_tasks(self) -> frozenset[str]:
        """Tasks whose reflections called for an edit."""
        return frozenset(edit.task_id for edit in self.edits if edit.task_id)


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
            units[_unit(row.delta)].append(row)
        return units

    @cached_property
    def days(self) -> list[date]:
        """Days from which its rows and tags count, sorted."""
        tags = map(date.fromordinal, np.unique(self.tags.effective_day).tolist())
        return sorted({*tags, *(row.effective_day for row in self.rows)})

    @cached_property
    def tasks(self) -> frozenset[str]:
        """Tasks that left a row other than a tag."""
        return frozenset(row.delta.task_id for row in self.rows)

    @cached_property
    def tag_tasks(self) -> frozenset[int]:
        """Numbers of the tasks that left a tag."""
        return frozenset(np.unique(self.tags.task).tolist())


def seen(rows: Sequence[Row], as_of: date, without_task: str | None) -> Sequence[Row]:
    """What is known of sorted rows as of a day; a task that is left out is not there at all."""
    known = rows[: bisect_right(rows, as_of, key=itemgetter(0))]
    return known if without_task is None else [row for row in known if row.delta.task_id != without_task]


def _unit(delta: Delta) -> Unit:
    if place_of(delta.scope):
        return Unit(delta.scope, "", "")
    return Unit("", RUNS, "") if delta.op == "EVIDENCE" else Unit("", delta.kind, delta.scope)


def _edits(columns: Sequence[Iterable[Any]]) -> tuple[Edit, ...]:
    """Edits from columns in the order of `Edit`; where no time is given, they come first of their day."""
    return tuple(Edit(day, at or _NEVER, *rest) for day, at, *rest in zip(*columns, strict=True))


def _unique(table: pa.Table) -> pa.Table:
    """The table with each delta once."""
    ids = coded(table["delta_id"], Codes().number)
    _, first = np.unique(ids, return_index=True)
    return table if len(first) == len(ids) else table.take(np.sort(first))
