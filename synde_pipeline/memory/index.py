"""Exact nearest neighbours in one sorted float32 matrix, where a filter is a contiguous slice of rows.

A search reads each row of its slice once: one BLAS product at the speed of memory. An approximate index would pay only
beyond slices of some 200 000 rows, which no domain's token budget lets items become (DECISIONS.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DIGITS = 5
"""Scores are compared after rounding: their last bits depend on the shape of a batch and on the machine."""
_FIRST = 32
"""Rows that are ranked before the rest of a slice has to be."""


class Hit(NamedTuple):
    """A row that was found."""

    row: int
    """Its position in what the index was made from."""
    score: float
    """Cosine with the query, rounded."""


@dataclass(frozen=True)
class Index:
    """Unit vectors sorted by group, then day, then id."""

    vectors: NDArray[np.float32]
    """(rows, dim), contiguous."""
    positions: NDArray[np.int64]
    """Of each row, in what the index was made from."""
    ranks: NDArray[np.int64]
    """Place of each row's id among all ids: decides between equal scores."""
    slices: dict[str, tuple[int, int]]
    """Group -> its first row and the one after its last."""
    days: NDArray[np.int64]
    """Since when each row is known, as an ordinal."""

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        groups: Sequence[str] | None = None,
        days: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> "Index":
        """Sort rows into an index.

        Args:
            ids: of the rows, different ones.
            vectors: unit vectors, (rows, dim).
            groups: a search asks for one of them; all rows are in the group "" without.
            days: since when each row is known (ordinals), for searches as of a day.
        """
        n = len(ids)
        ranks = np.empty(n, np.int64)
        ranks[np.argsort(np.array(ids, np.str_), kind="stable")] = np.arange(n)
        known = np.zeros(n, np.int64) if days is None else np.asarray(days, np.int64)
        names, codes = np.unique(np.array([""] * n if groups is None else groups, np.str_), return_inverse=True)
        order = np.lexsort((ranks, known, codes))
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
        slices = {str(name): (bounds[k], bounds[k + 1]) for k, name in enumerate(names)}
        return cls(np.ascontiguousarray(vectors[order], np.float32), order, ranks[order], slices, known[order])

    def search(self, query: NDArray[np.float32], k: int, group: str = "", as_of: int | None = None) -> list[Hit]:
        """The k nearest rows of a group, known as of a day; fewer where there are no more."""
        return list(islice(self.nearest(query, group, as_of, expected=k), k))

    def nearest(
        self, query: NDArray[np.float32], group: str = "", as_of: int | None = None, *, expected: int = _FIRST
    ) -> Iterator[Hit]:
        """All rows of a group known as of a day, nearest first; of equal scores the smaller id first.

        Args:
            query: unit vector, (dim,).
            group: the only rows that are looked at.
            as_of: rows known later are not looked at.
            expected: how many will be asked for; more can be, and cost a sort of the slice.
        """
        start, end = self.slices.get(group, (0, 0))
        if as_of is not None:
            end = start + int(np.searchsorted(self.days[start:end], as_of, side="right"))
        if start == end or expected < 1:
            return
        # A dot product a row: twice as fast here as BLAS's gemv, and the same whatever the slice.
        scores = np.vecdot(self.vectors[start:end], query)
        first = _at_least(scores, expected)
        ranked = self._sorted(scores, first, start)
        yield from ranked[:expected]
        if len(ranked) < len(scores):
            ranked = self._sorted(scores, np.arange(len(scores)), start)
        yield from ranked[expected:]

    def _sorted(self, scores: NDArray[np.float32], rows: NDArray[np.int64], start: int) -> list[Hit]:
        """Hits of some rows of a slice, in their final order."""
        rounded = np.round(scores[rows].astype(np.float64), DIGITS)
        order = np.lexsort((self.ranks[start + rows], -rounded))
        positions = self.positions[start + rows[order]]
        return [Hit(row, score) for row, score in zip(positions.tolist(), rounded[order].tolist(), strict=True)]

    @cached_property
    def _row_of(self) -> NDArray[np.int64]:
        rows = np.empty(len(self.positions), np.int64)
        rows[self.positions] = np.arange(len(self.positions))
        return rows

    def vector(self, row: int) -> NDArray[np.float32]:
        """The vector of a hit's row, (dim,)."""
        return self.vectors[self._row_of[row]]


def _at_least(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Rows among which the k best are whatever rounding makes of the scores."""
    if k >= len(scores):
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth - 10.0**-DIGITS)
