"""Top-k memory items for a task, as of a day, without anything learned from the task itself.

What holds at the place of the task comes first; what holds all over its domain fills up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import chain
from threading import RLock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.memory.bounded import Bounded
from synde_pipeline.memory.curate import Bank, Fold
from synde_pipeline.memory.daily import check_embedder
from synde_pipeline.memory.domain import Folded
from synde_pipeline.memory.embed import get_embedder, pinned_name
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.notes_shown import ShownNotes
from synde_pipeline.memory.select import Answer, PassedOver, Recalled, Shelf, select
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.memory.store import read_rows, read_vectors
from synde_pipeline.memory.trial_contrasts import read_advice
from synde_pipeline.memory.trials import NOBODY_ASKED, Advice
from synde_pipeline.memory.vectors import KeptVectors
from synde_pipeline.records import Delta, MemoryItem, Trajectory, place_of
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse

_MOST_ITEMS = 2**19
"""Of all shelves that are kept: 0.8 GB of vectors at 384 dimensions."""
_MOST_TASKS = 2**14
"""Whose vectors are kept."""

_WORKS, _FAILS, _ANYWHERE = "works at the place", "fails at the place", "holds all over the domain"
"""Reasons to show an item."""
_NOTEBOOK = "the domain's notebook"


@dataclass(frozen=True)
class Query:
    """One question to the memory."""

    task: str
    """The task as the agent sees it."""
    domain: str
    """Only items of this domain are eligible."""
    as_of: date
    """Nothing learned after this day is seen."""
    without_task: str | None = None
    """Id of the task, so that memory cannot hold its own answer."""
    scope: str = ""
    """Where the task is: what holds at another place is not eligible."""


@dataclass
class Memory:
    """The ledger in memory, with cached shelves and vectors. Answers for any day, task and place, in any thread."""

    ledger: Ledger
    config: MemoryConfig
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Text -> unit vector, filled from the ledger and grown by need."""
    kept: KeptVectors | None = field(default=None, repr=False, compare=False)
    """Where vectors of texts that the fold words outlive this process."""
    advice: Advice = NOBODY_ASKED
    """What a language model said of several trials of a task."""
    notes: ShownNotes | None = field(default=None, repr=False, compare=False)
    """The notebooks, where they are for prompts."""
    _shelves: Bounded[tuple[int, str], tuple[Folded, Shelf]] = field(
        default_factory=lambda: Bounded(_MOST_ITEMS, lambda kept: 1 + len(kept[1].items)), repr=False
    )
    """By identity of what was folded, which is kept too, and scope of the place; empty for what holds anywhere."""
    _asked: Bounded[str, NDArray[np.float32]] = field(default_factory=lambda: Bounded(_MOST_TASKS), repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False, compare=False)

    @classmethod
    def load(cls, warehouse: Warehouse, config: MemoryConfig) -> "Memory":
        """Read the ledger of a warehouse.

        Raises:
            LineageError: a day's vectors are another embedder's; the two cannot be compared.
        """
        check_embedder(warehouse, config)
        return cls.read(warehouse, config, read_rows(warehouse), read_vectors(warehouse))

    @classmethod
    def read(
        cls, warehouse: Warehouse, config: MemoryConfig, rows: pa.Table, vectors: Mapping[str, NDArray[np.float32]]
    ) -> "Memory":
        """The memory of rows of a warehouse's ledger, given vectors of lessons and runs by their ids."""
        ledger = Ledger.read(rows)
        known = {row.delta.key_text: vectors[row.delta_id] for row in ledger.rows if row.delta_id in vectors}
        kept = KeptVectors(warehouse, pinned_name(config.embedder))
        return cls(ledger, config, known, kept, read_advice(warehouse), ShownNotes.of(warehouse, config))

    @classmethod
    def of(cls, deltas: Iterable[Delta], config: MemoryConfig) -> "Memory":
        """The memory of deltas that lie in no warehouse."""
        return cls(Ledger.of(deltas), config)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts through the cache; returns shape (n, dim). The embedder is loaded when a text is new."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        with self._lock:
            missing = sorted(set(texts) - self.vectors.keys())
            if missing and self.kept:
                self.vectors |= self.kept.find(missing)
                missing = [text for text in missing if text not in self.vectors]
            if missing:
                embedder = get_embedder(self.config.embedder)
                if self.kept:
                    self.vectors |= self.kept.find_or_ask(missing, embedder)
                else:
                    self.vectors |= dict(zip(missing, embedder.embed(missing), strict=True))
            return np.stack([self.vectors[text] for text in texts])

    @property
    def domains(self) -> list[str]:
        """Domains that the ledger speaks of, sorted."""
        return sorted(self.ledger.domains)

    @property
    def last_day(self) -> date | None:
        """The day from which on nothing more becomes known; None for an empty ledger."""
        return self.ledger.last_day

    def bank(self, as_of: date, *, without_task: str | None = None) -> Bank:
        """The bank as of a day, items of all places included."""
        with self._lock:
            return self.fold.bank(as_of, without_task)

    def recall(
        self,
        task: str,
        *,
        domain: str,
        as_of: date,
        without_task: str | None = None,
        scope: str = "",
        top_k: int | None = None,
    ) -> list[MemoryItem]:
        """The items for one query; the arguments are those of `Query` and `recall_many`."""
        return self.recall_many([Query(task, domain, as_of, without_task, scope)], top_k=top_k)[0]

    def recall_many(self, queries: Sequence[Query], *, top_k: int | None = None) -> list[list[MemoryItem]]:
        """The top-k items for each query: what works at its place, what fails there, then the domain's; nearest first.

        Args:
            queries: in the order in which their items come back.
            top_k: how many; None takes the settings'.
        """
        return [answer.items for answer in self.answers(queries, top_k=top_k)]

    def answers(self, queries: Sequence[Query], *, top_k: int | None = None) -> list[Answer]:
        """As `recall_many`, with scores, reasons and what was passed over."""
        top_k = self.config.top_k if top_k is None else top_k
        walks = [self._walk(query) for query in queries]
        heads = [next(walk, None) if top_k else None for walk in walks]
        tasks = [query.task for query, head in zip(queries, heads, strict=True) if head]
        vectors = self._embed_tasks(tasks)  # all at once, and none where there is nothing to compare with
        found = [
            select(vectors[query.task], chain([head], walk), top_k, self.config) if head else Answer()
            for query, head, walk in zip(queries, heads, walks, strict=True)
        ]
        if self.notes is None or not top_k:
            return found
        return [self._with_notes(query, answer) for query, answer in zip(queries, found, strict=True)]

    def _with_notes(self, query: Query, answer: Answer) -> Answer:
        """The answer with the domain's notebook behind it, if there is one for this task and it fits."""
        item = self.notes.item(query.domain, query.as_of, query.without_task) if self.notes else None
        if item is None:
            return answer
        room, used = self.config.recall_tokens, sum(map(n_tokens, answer.items))
        if room is not None and used + n_tokens(item) > room:
            return replace(answer, passed_over=(*answer.passed_over, PassedOver(item, 0.0, "budget")))
        return replace(answer, shown=(*answer.shown, Recalled(item, 0.0, _NOTEBOOK)))

    def recall_before(self, trajectory: Trajectory) -> list[MemoryItem]:
        """What memory would have shown at the start of a trajectory: as of the day before, without its own task."""
        return self.recall(
            trajectory.task,
            domain=trajectory.domain,
            as_of=trajectory.day - timedelta(days=1),
            without_task=trajectory.task_id,
            scope=trajectory.scope,
        )

    @cached_property
    def fold(self) -> Fold:
        """The ledger, folded as of any day."""
        return Fold(self.ledger, self.config, self.embed, advice=self.advice)

    def _shelf(self, query: Query, scope: str) -> Shelf:
        """The active items of a place, or those that hold all over the domain, as they are to a query."""
        with self._lock:
            folded = self.fold.domain(query.domain, query.as_of, query.without_task)
            return self._shelves.get((id(folded), scope), lambda: (folded, self._new_shelf(folded, scope)))[1]

    def _new_shelf(self, folded: Folded, scope: str) -> Shelf:
        held = [item for item in folded.items if item.status == "active"]
        items = [item for item in held if (item.scope == scope if scope else not item.place)]
        return Shelf.of(items, self.embed([item.key_text for item in items]), _reason)

    def _walk(self, query: Query) -> Iterator[tuple[Shelf, str]]:
        """Where eligible items are, those that come first first; what is not asked for is not made ready."""
        # What works says more than what fails: of a place, it comes first.
        here = [(query.scope, reason) for reason in (_WORKS, _FAILS)] if place_of(query.scope) else []
        for scope, reason in [*here, ("", _ANYWHERE)]:
            shelf = self._shelf(query, scope)
            if reason in shelf.index.slices:
                yield shelf, reason

    def _embed_tasks(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of tasks: there is no end to them, so the oldest are forgotten."""
        known = {text: self.vectors[text] for text in texts if text in self.vectors}  # the ledger's own tasks
        found = known | {text: vector for text in texts if (vector := self._asked.peek(text)) is not None}
        missing = sorted(set(texts) - found.keys())
        if missing:
            new = dict(zip(missing, get_embedder(self.config.embedder).embed(missing), strict=True))
            for text, vector in new.items():
                self._asked.put(text, vector)
            found |= new
        return found


def _reason(item: MemoryItem) -> str:
    if not item.place:
        return _ANYWHERE
    return _WORKS if item.kind == "strategy" else _FAILS
