"""The ledger as the fold reads it: rows as records, edits slim, tags as columns; cut by domain and by unit.

A unit is what is drafted apart: all that one place taught, the lessons of one kind and scope, or a domain's runs. An
item's text rests on rows of its own unit alone, so one more day redrafts only the units that it touches.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from synde_pipeline.memory.sources import HUMAN, SOURCE, shut_out
from synde_pipeline.memory.store import records_of
from synde_pipeline.memory.tags import Codes, Ints, Tags, coded, distinct, shown_id, tags_in, tags_of
from synde_pipeline.records import Delta, place_of

RUNS = "runs"
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
class Ledger:
    """All rows, each once."""

    rows: tuple[Row, ...]
    edits: dict[str, tuple[Edit, ...]]
    """Target without its version -> its edits, in the order in which they count."""
    tags: dict[str, Tags]
    """By domain."""
    uids: dict[int, Ints]
    """Day (ordinal) -> numbers of the uids that its rows name, each once."""
    codes: Codes = field(repr=False)

    @classmethod
    def of(cls, deltas: Iterable[Delta], codes: Codes | None = None) -> "Ledger":
        """Deltas in any order, with any repeats."""
        unique = list(dict.fromkeys(deltas))
        edits = [delta for delta in unique if delta.op in _EDITS]
        columns = [[getattr(edit, name) for edit in edits] for name in Edit._fields]
        codes = Codes() if codes is None else codes
        tags = tags_of([delta for delta in unique if delta.op == "TAG"], codes)
        named = ((delta.delta_id, delta) for delta in unique if delta.op in ("ADD", "EVIDENCE"))
        return cls._made(named, columns, tags, codes)

    @classmethod
    def read(cls, table: pa.Table, codes: Codes | None = None) -> "Ledger":
        """A table of deltas; their ids are the stored ones."""
        table = _unique(table)
        kind = coded(table["op"], lambda op: 0 if op == "TAG" else 1 if op in _EDITS else 2)
        tags, edits, others = (table.filter(pa.array(kind == which)) for which in range(3))
        named = zip(others["delta_id"].to_pylist(), records_of(others), strict=True)
        columns = [edits[name].to_pylist() for name in Edit._fields]
        codes = Codes() if codes is None else codes
        return cls._made(named, columns, tags_in(tags, codes), codes)

    @classmethod
    def _made(
        cls, named: Iterable[tuple[str, Delta]], columns: Sequence[Iterable[Any]], tags: Tags, codes: Codes
    ) -> "Ledger":
        rows = tuple(Row(delta.effective_day, delta_id, unit_of(delta), delta) for delta_id, delta in named)
        edits = [Edit(day, at or _NEVER, *rest) for day, at, *rest in zip(*columns, strict=True)]
        said = [*((row.delta.trace_uid, row.delta.day) for row in rows), *((e.trace_uid, e.day) for e in edits)]
        uids = np.concatenate([coded([uid for uid, _ in said], codes.number), tags.uid])
        days = np.concatenate([np.array([day.toordinal() for _, day in said], np.int32), tags.day])
        by_domain = {codes.names[code]: tags.where(tags.domain == code) for code in distinct(tags.domain)}
        return cls(rows, _by_target(edits), by_domain, _by_day(uids, days), codes)

    def replaced(self, day: date, rows: Iterable[Delta] | pa.Table) -> "Ledger":
        """The ledger with one day's rows replaced as a whole."""
        new = Ledger.read(rows, self.codes) if isinstance(rows, pa.Table) else Ledger.of(rows, self.codes)
        changed = {target for target, edits in self.edits.items() for edit in edits if edit.day == day}
        kept = [edit for target in changed | new.edits.keys() for edit in self.edits.get(target, ()) if edit.day != day]
        edited = _by_target([*kept, *chain.from_iterable(new.edits.values())])
        tags = {name: found.where(found.day != day.toordinal()) for name, found in self.tags.items()}
        tags |= {name: tags[name].with_rows(found) if name in tags else found for name, found in new.tags.items()}
        uids = {number: found for number, found in self.uids.items() if number != day.toordinal()}
        return Ledger(
            rows=(*(row for row in self.rows if row.delta.day != day), *new.rows),
            edits={target: edits for target, edits in self.edits.items() if target not in changed} | edited,
            tags=tags,
            uids=uids | new.uids,
            codes=self.codes,
        )

    # -- as the fold sees it ------------------------------------------------------------------------------------

    @cached_property
    def _stale(self) -> dict[int, set[str]]:
        """Day -> uids that an earlier day holds: a uid that two days hold (one of them stale) speaks from its first."""
        n_days = np.bincount(np.concatenate([*self.uids.values(), np.zeros(0, np.int32)]), minlength=1)
        seen, stale = set(), defaultdict(set)
        if n_days.max() > 1:
            for day in sorted(self.uids):
                for code in self.uids[day][n_days[self.uids[day]] > 1].tolist():
                    if code in seen:
                        stale[day].add(self.codes.names[code])
                    seen.add(code)
        return dict(stale)

    def _speaks(self, trace_uid: str, day: date) -> bool:
        return trace_uid not in self._stale.get(day.toordinal(), ())

    @cached_property
    def domains(self) -> dict[str, "Domain"]:
        """The rows and tags of each domain."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if not self._stale or self._speaks(row.delta.trace_uid, row.delta.day):
                rows[row.delta.domain].append(row)
        tags = {name: self._fresh(found) for name, found in self.tags.items()}
        none = tags_of([], self.codes)
        return {name: Domain(rows.get(name, []), tags.get(name, none)) for name in sorted({*rows, *tags})}

    def _fresh(self, tags: Tags) -> Tags:
        speaks = np.ones(len(tags), np.bool_)
        for day, uids in self._stale.items():
            speaks &= (tags.day != day) | ~np.isin(tags.uid, [self.codes.get(uid) for uid in uids])
        return tags.where(speaks)

    @cached_property
    def edits_of(self) -> dict[str, tuple[Edit, ...]]:
        """Target without its version -> its edits that count, in their order."""
        if not self._stale:
            return self.edits
        found = {
            target: tuple(e for e in edits if self._speaks(e.trace_uid, e.day)) for target, edits in self.edits.items()
        }
        return {target: edits for target, edits in found.items() if edits}

    @cached_property
    def edit_days(self) -> list[date]:
        """Days from which edits count, sorted."""
        return sorted({edit.effective_day for edits in self.edits_of.values() for edit in edits})

    @cached_property
    def edit_tasks(self) -> frozenset[str]:
        """Tasks whose reflections called for an edit."""
        return frozenset(edit.task_id for edits in self.edits_of.values() for edit in edits if edit.task_id)

    def quarantined(self, as_of: date) -> frozenset[str]:
        """Source systems that a person had shut out by a day."""
        edits = (edit for edits in self._of_sources for edit in edits if edit.is_human and edit.effective_day <= as_of)
        return shut_out((edit.target, edit.value) for edit in edits)

    @cached_property
    def _of_sources(self) -> list[tuple[Edit, ...]]:
        return [edits for target, edits in self.edits_of.items() if target.startswith(SOURCE)]


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
    """The unit that a row belongs to."""
    if place_of(delta.scope):
        return Unit(delta.scope, "", "")
    return Unit("", RUNS, "") if delta.op == "EVIDENCE" else Unit("", delta.kind, delta.scope)


def _by_target(edits: Iterable[Edit]) -> dict[str, tuple[Edit, ...]]:
    found: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        found[edit.target if edit.target.startswith(SOURCE) else shown_id(edit.target)].append(edit)
    return {target: tuple(sorted(edits)) for target, edits in found.items()}


def _by_day(uids: Ints, days: Ints) -> dict[int, Ints]:
    """Day -> the uids that its rows name, each once."""
    pairs = np.sort((days.astype(np.int64) << 32) | uids)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    found, starts = np.unique(pairs >> 32, return_index=True)
    parts = np.split((pairs & 0xFFFFFFFF).astype(np.int32), starts[1:])
    return dict(zip(found.tolist(), parts, strict=False))


def _unique(table: pa.Table) -> pa.Table:
    """The table with each delta once."""
    ids = coded(table["delta_id"], Codes().number)
    _, first = np.unique(ids, return_index=True)
    return table if len(first) == len(ids) else table.take(np.sort(first))
