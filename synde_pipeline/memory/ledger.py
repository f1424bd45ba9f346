"""The ledger cut into sections, which are folded apart: one for each place, and one for what holds all over a domain.

An item rests on rows of its own section alone, so a question about one place reads that place's rows only.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

from synde_pipeline.records import Delta, place_of

Key = tuple[str, str]
"""(domain, scope of the place); the scope is empty for what holds all over the domain."""


class Cut(NamedTuple):
    """How much of a section is seen. Equal cuts see equal rows, so what is folded from one can be kept."""

    key: Key
    n_rows: int
    """The first rows, in canonical order."""
    without_task: str | None
    """Task whose rows are left out; None where it has none among them."""


@dataclass(frozen=True)
class Section:
    """The rows of one section."""

    key: Key
    rows: tuple[Delta, ...]
    """Each once, in canonical order: effective day, then id."""

    @cached_property
    def _days(self) -> list[date]:
        return [row.effective_day for row in self.rows]

    @cached_property
    def _starts(self) -> dict[str, int]:
        """Task -> position of its first row."""
        starts: dict[str, int] = {}
        for at, row in enumerate(self.rows):
            starts.setdefault(row.task_id, at)
        return starts

    def cut(self, as_of: date, without_task: str | None) -> Cut:
        """What is known as of a day, without a task."""
        n_rows = bisect_right(self._days, as_of)
        knows_task = without_task is not None and self._starts.get(without_task, n_rows) < n_rows
        return Cut(self.key, n_rows, without_task if knows_task else None)

    def seen(self, cut: Cut) -> list[Delta]:
        """The rows of a cut. A task that is left out is not there at all, so no text or count can stem from it."""
        return [row for row in self.rows[: cut.n_rows] if row.task_id != cut.without_task]


def sections_of(deltas: Iterable[Delta]) -> dict[Key, Section]:
    """Sort deltas into sections; any order and any repeats of them give the same sections."""
    unique = list(dict.fromkeys(deltas))
    first_day: dict[str, date] = {}
    for delta in unique:  # a uid that two days hold (one of them stale) speaks once, from its first day
        first_day[delta.trace_uid] = min(delta.day, first_day.get(delta.trace_uid, delta.day))
    rows: dict[Key, list[tuple[date, str, Delta]]] = defaultdict(list)
    for delta in unique:
        if delta.day == first_day[delta.trace_uid]:
            key = (delta.domain, delta.scope if place_of(delta.scope) else "")
            rows[key].append((delta.effective_day, delta.delta_id, delta))
    return {
        key: Section(key, tuple(row for *_, row in sorted(found, key=lambda r: r[:2]))) for key, found in rows.items()
    }
