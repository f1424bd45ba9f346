"""The ledger as the fold reads it: rows as records, edits slim, tags as columns; cut by domain, and there by unit."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.memory.rows import EDITING, NEVER, Domain, Edit, Row, by_target, unit_of
from synde_pipeline.memory.sources import HUMAN, SOURCE, shut_out
from synde_pipeline.memory.store import records_of
from synde_pipeline.memory.tags import Codes, Ints, Tags, coded, distinct, tags_in, tags_of
from synde_pipeline.records import Delta


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
        edits = [delta for delta in unique if delta.op in EDITING]
        columns = [[getattr(edit, name) for edit in edits] for name in Edit._fields]
        codes = Codes() if codes is None else codes
        tags = tags_of([delta for delta in unique if delta.op == "TAG"], codes)
        named = ((delta.delta_id, delta) for delta in unique if delta.op in ("ADD", "EVIDENCE"))
        return cls._made(named, columns, tags, codes)

    @classmethod
    def read(cls, table: pa.Table, codes: Codes | None = None) -> "Ledger":
        """A table of deltas; their ids are the stored ones."""
        table = _unique(table)
        kind = coded(table["op"], lambda op: 0 if op == "TAG" else 1 if op in EDITING else 2)
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
        edits = [Edit(day, at or NEVER, *rest) for day, at, *rest in zip(*columns, strict=True)]
        said = [*((row.delta.trace_uid, row.delta.day) for row in rows), *((e.trace_uid, e.day) for e in edits)]
        uids = np.concatenate([coded([uid for uid, _ in said], codes.number), tags.uid])
        days = np.concatenate([np.array([day.toordinal() for _, day in said], np.int32), tags.day])
        by_domain = {codes.names[code]: tags.where(tags.domain == code) for code in distinct(tags.domain)}
        return cls(rows, by_target(edits), by_domain, _by_day(uids, days), codes)

    def replaced(self, day: date, rows: Iterable[Delta] | pa.Table) -> "Ledger":
        """The ledger with one day's rows replaced as a whole."""
        new = Ledger.read(rows, self.codes) if isinstance(rows, pa.Table) else Ledger.of(rows, self.codes)
        changed = {target for target, edits in self.edits.items() for edit in edits if edit.day == day}
        without = Ledger(
            rows=tuple(row for row in self.rows if row.delta.day != day),
            edits=self.edits | {t: tuple(edit for edit in self.edits[t] if edit.day != day) for t in changed},
            tags={name: found.where(found.day != day.toordinal()) for name, found in self.tags.items()},
            uids={number: found for number, found in self.uids.items() if number != day.toordinal()},
            codes=self.codes,
        )
        return without._with(new)

    def with_rows(self, deltas: Iterable[Delta]) -> "Ledger":
        """These rows and others."""
        return self._with(Ledger.of(deltas, self.codes))

    def _with(self, new: "Ledger") -> "Ledger":
        edits = self.edits | {t: tuple(sorted((*self.edits.get(t, ()), *found))) for t, found in new.edits.items()}
        uids = {n: np.union1d(self.uids[n], found) if n in self.uids else found for n, found in new.uids.items()}
        tags = {n: self.tags[n].with_rows(found) if n in self.tags else found for n, found in new.tags.items()}
        return Ledger(
            rows=(*self.rows, *new.rows),
            edits={target: found for target, found in edits.items() if found},
            tags=self.tags | tags,
            uids=self.uids | uids,
            codes=self.codes,
        )

    def of_logs(self, keep: Callable[[str, date], bool]) -> "Ledger":
        """The rows of some logs, and people's edits.

        Args:
            keep: whether the rows of a trajectory's uid on a day are among them.
        """
        people = {row.delta.trace_uid for row in self.rows if row.delta.source == HUMAN}
        people |= {edit.trace_uid for edits in self.edits.values() for edit in edits if edit.is_human}
        stays = lru_cache(maxsize=None)(lambda uid, day: uid in people or keep(uid, day))
        names = self.codes.names
        uids = {
            n: np.array([c for c in found.tolist() if stays(names[c], date.fromordinal(n))], np.int32)
            for n, found in self.uids.items()
        }
        pairs = np.concatenate([np.zeros(0, np.int64), *(_pairs(found, n) for n, found in uids.items())])
        edits = {t: tuple(e for e in found if stays(e.trace_uid, e.day)) for t, found in self.edits.items()}
        return Ledger(
            rows=tuple(row for row in self.rows if stays(row.delta.trace_uid, row.delta.day)),
            edits={target: found for target, found in edits.items() if found},
            tags={name: found.where(np.isin(_pairs(found.uid, found.day), pairs)) for name, found in self.tags.items()},
            uids=uids,
            codes=self.codes,
        )

    # -- what is in it ------------------------------------------------------------------------------------------

    @cached_property
    def task_ids(self) -> frozenset[str]:
        """Tasks that a row stems from; empty for a person's."""
        coded_tasks = (self.codes.names[code] for found in self.tags.values() for code in distinct(found.task))
        edited = (edit.task_id for edits in self.edits.values() for edit in edits)
        return frozenset(chain((row.delta.task_id for row in self.rows), edited, coded_tasks))

    @cached_property
    def last_day(self) -> date | None:
        """The day from which on nothing more becomes known; None for an empty ledger."""
        days = [row.effective_day for row in self.rows]
        days += [edit.effective_day for edits in self.edits.values() for edit in edits]
        days += [date.fromordinal(int(found.effective_day.max())) for found in self.tags.values() if len(found)]
        return max(days, default=None)

    # -- as the fold sees it ------------------------------------------------------------------------------------

    @cached_property
    def _stale(self) -> dict[int, set[str]]:
        """Day -> uids that speak from another day.

        Of two days that hold a uid, because one of them is stale, the one known first counts (then the earlier one):
        what becomes known later never changes that (law 2).
        """
        n_days = np.bincount(np.concatenate([*self.uids.values(), np.zeros(0, np.int32)]), minlength=1)
        stale: dict[int, set[str]] = defaultdict(set)
        if n_days.max() > 1:
            known = self._known_from(set(np.flatnonzero(n_days > 1).tolist()))
            speaks: dict[int, int] = {}
            for (code, day), _ in sorted(known.items(), key=lambda one: (one[1], one[0][1])):
                if speaks.setdefault(code, day) != day:
                    stale[day].add(self.codes.names[code])
        return dict(stale)

    def _known_from(self, codes: set[int]) -> dict[tuple[int, int], int]:
        """Numbers of some uids and of a day that holds them -> the first effective day of their rows there."""
        number = self.codes.get
        found = [
            (number(row.delta.trace_uid), row.delta.day.toordinal(), row.effective_day.toordinal()) for row in self.rows
        ]
        for edit in chain.from_iterable(self.edits.values()):
            found.append((number(edit.trace_uid), edit.day.toordinal(), edit.effective_day.toordinal()))
        for tags in self.tags.values():
            mine = tags.where(np.isin(tags.uid, list(codes)))
            found += zip(mine.uid.tolist(), mine.day.tolist(), mine.effective_day.tolist(), strict=True)
        known: dict[tuple[int, int], int] = {}
        for code, day, effective_day in found:
            if code in codes:
                known[code, day] = min(effective_day, known.get((code, day), effective_day))
        return known

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


def _by_day(uids: Ints, days: Ints) -> dict[int, Ints]:
    """Day -> the uids that its rows name, each once."""
    pairs = np.sort(_pairs(uids, days))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    found, starts = np.unique(pairs >> 32, return_index=True)
    parts = np.split((pairs & 0xFFFFFFFF).astype(np.int32), starts[1:])
    return dict(zip(found.tolist(), parts, strict=False))


def _pairs(uids: Ints, days: Ints | int) -> NDArray[np.int64]:
    """A uid and a day as one number."""
    return (np.asarray(days, np.int64) << 32) | uids


def _unique(table: pa.Table) -> pa.Table:
    """The table with each delta once."""
    ids = coded(table["delta_id"], Codes().number)
    _, first = np.unique(ids, return_index=True)
    return table if len(first) == len(ids) else table.take(np.sort(first))
