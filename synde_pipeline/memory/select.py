"""Which of the ranked items go into one answer: the nearest ones that fit the token budget and are not alike."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.dedupe import dedupe_text
from synde_pipeline.memory.distinct import differ
from synde_pipeline.memory.index import DIGITS, Index
from synde_pipeline.memory.reading import read
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import MemoryConfig


@dataclass(frozen=True)
class Recalled:
    """A memory item in an answer."""

    item: MemoryItem
    score: float
    """Cosine of its key with the task, rounded."""
    reason: str
    """Why it is there, in words."""


@dataclass(frozen=True)
class PassedOver:
    """A memory item that was near enough and is not in the answer."""

    item: MemoryItem
    score: float
    reason: Literal["alike", "budget"]
    """alike: says nearly what an item before it says. budget: does not fit into the tokens that are left."""


@dataclass(frozen=True)
class Answer:
    """What memory says to one query."""

    shown: tuple[Recalled, ...] = ()
    """Best first."""
    passed_over: tuple[PassedOver, ...] = ()
    """What was looked at on the way, best first."""

    @property
    def items(self) -> list[MemoryItem]:
        """The items to show, best first."""
        return [one.item for one in self.shown]


@dataclass(frozen=True)
class Shelf:
    """Items of one section of the bank, ready to be searched."""

    items: Sequence[MemoryItem]
    index: Index
    """Over `items`; a group for each reason."""

    @classmethod
    def of(
        cls, items: Sequence[MemoryItem], vectors: NDArray[np.float32], reason: Callable[[MemoryItem], str]
    ) -> "Shelf":
        """A shelf of items with the vectors of their keys, (items, dim)."""
        return cls(items, Index.of([item.item_id for item in items], vectors, [reason(item) for item in items]))

    def ranked(self, query: NDArray[np.float32], reason: str, expected: int) -> Iterator["_Candidate"]:
        """Items of one reason, nearest first."""
        for row, score in self.index.nearest(query, reason, expected=expected):
            yield _Candidate(self.items[row], score, reason, self.index.vector(row))


@dataclass(frozen=True)
class _Candidate:
    item: MemoryItem
    score: float
    reason: str
    vector: NDArray[np.float32]


@dataclass
class _Page:
    """What has been chosen so far."""

    config: MemoryConfig
    chosen: list[_Candidate] = field(default_factory=list)
    n_tokens: int = 0

    def refuses(self, candidate: _Candidate) -> Literal["alike", "budget"] | None:
        """Why a candidate cannot be shown beside what is chosen; None where it was put on the page."""
        if any(self._alike(candidate, other) for other in self.chosen):
            return "alike"
        if self.config.recall_tokens is not None:
            tokens = n_tokens(candidate.item)
            if self.n_tokens + tokens > self.config.recall_tokens:
                return "budget"
            self.n_tokens += tokens
        self.chosen.append(candidate)
        return None

    def _alike(self, one: _Candidate, other: _Candidate) -> bool:
        """What holds at a place is told apart by its tool, a pitfall from the strategy that avoids it by its kind.

        The rest by meaning; what differs in a number, a negation or a name is not alike (see `memory.distinct`).
        """
        if one.item.place or other.item.place or one.item.kind != other.item.kind:
            return False
        if round(float(one.vector @ other.vector), DIGITS) < self.config.distinct:
            return False
        return not differ(*(read(dedupe_text(each.item)) for each in (one, other)))


def select(
    query: NDArray[np.float32], shelves: Iterable[tuple[Shelf, str]], top_k: int, config: MemoryConfig
) -> Answer:
    """Fill one answer.

    Args:
        query: unit vector of the task, (dim,).
        shelves: with the reason that is asked for; earlier ones come first whatever the scores. Taken one by one, and
            none is asked for when the answer is full.
        top_k: how many items at most.
        config: token budget, and how alike two items may be.
    """
    page, passed_over = _Page(config), []
    for shelf, reason in shelves if top_k else ():
        for candidate in shelf.ranked(query, reason, expected=top_k):
            why = page.refuses(candidate)
            if why is not None:
                passed_over.append(PassedOver(candidate.item, candidate.score, why))
            elif len(page.chosen) == top_k:
                return _answer(page, passed_over)
    return _answer(page, passed_over)


def _answer(page: _Page, passed_over: list[PassedOver]) -> Answer:
    shown = [Recalled(one.item, one.score, one.reason) for one in page.chosen]
    return Answer(tuple(shown), tuple(passed_over))
