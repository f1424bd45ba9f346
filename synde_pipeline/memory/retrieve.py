"""Top-k memory items for a task, as of a day, without anything learned from the task itself.

What holds at the place of the task comes first; what holds all over its domain fills up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import LineageError
from synde_pipeline.memory.curate import Bank, Fold
from synde_pipeline.memory.daily import MEMORY
from synde_pipeline.memory.embed import DIM, get_embedder
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.records import Delta, MemoryItem, Trajectory
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse


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
    """The ledger in memory, with cached items and vectors. Answers `recall` for any day, task and place."""

    deltas: list[Delta]
    config: MemoryConfig
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Text -> vector (384,), filled from the ledger and grown by need."""

    @classmethod
    def load(cls, warehouse: Warehouse, config: MemoryConfig) -> "Memory":
        """Read the ledger of a warehouse.

        Raises:
            LineageError: a day's vectors are another embedder's; the two cannot be compared.
        """
        for key in warehouse.keys(MEMORY):
            header = warehouse.header(MEMORY, key)
            if header and header.info["embedder"] != config.embedder:
                raise LineageError(
                    f"{MEMORY}[{key}] was embedded by {header.info['embedder']}",
                    expected=config.embedder,
                    remedy="set SYNDE_EMBEDDER back, or `synde run` to embed every landed day again",
                )
        deltas, vectors = read_ledger(warehouse)
        known = {delta.key_text: vector for delta, vector in zip(deltas, vectors, strict=True)}
        return cls(deltas, config, known)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts through the cache; returns shape (n, 384). The embedder is loaded when a text is new."""
        missing = sorted(set(texts) - self.vectors.keys())
        if missing:
            embedder = get_embedder(self.config.embedder)
            self.vectors |= dict(zip(missing, embedder.embed(missing), strict=True))
        return np.stack([self.vectors[text] for text in texts]) if texts else np.zeros((0, DIM), np.float32)

    def bank(self, as_of: date, *, without_task: str | None = None) -> Bank:
        """The bank as of a day, items of all places included."""
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
        top_k = self.config.top_k if top_k is None else top_k
        shelves = [self._shelves(query, top_k) for query in queries]
        self.embed([query.task for query, found in zip(queries, shelves, strict=True) if found])  # all at once
        return [
            [item for shelf in found for item in self._ranked(query.task, shelf)][:top_k]
            for query, found in zip(queries, shelves, strict=True)
        ]

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
        return Fold(Ledger.of(self.deltas), self.config, self.embed)

    def _shelves(self, query: Query, top_k: int) -> list[list[MemoryItem]]:
        """Eligible items, those that come first on the first shelf."""
        found = self.fold.domain(query.domain, query.as_of, query.without_task).items
        shown = [item for item in found if item.status == "active"] if top_k else []
        here = [item for item in shown if item.place and item.scope == query.scope]
        # What works says more than what fails: of a place, it comes first.
        shelves = [*(list(filter(kind, here)) for kind in (_works, _fails)), [item for item in shown if not item.place]]
        return [shelf for shelf in shelves if shelf]

    def _ranked(self, task: str, items: list[MemoryItem]) -> list[MemoryItem]:
        """Items nearest first."""
        scores = self.embed([item.key_text for item in items]) @ self.embed([task])[0]  # (items,)
        # Rounding keeps the order independent of the last bits, which batch shape and machine may change.
        ranked = sorted(zip(np.round(scores, 5), items, strict=True), key=lambda pair: (-pair[0], pair[1].item_id))
        return [item for _, item in ranked]


def _works(item: MemoryItem) -> bool:
    return item.kind == "strategy"


def _fails(item: MemoryItem) -> bool:
    return item.kind != "strategy"
