"""Top-k memory items for a task, as of a day, without anything learned from the task itself."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import LineageError
from synde_pipeline.memory.curate import Bank, fold
from synde_pipeline.memory.daily import MEMORY
from synde_pipeline.memory.embed import DIM, get_embedder
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.records import Delta, MemoryItem, Trajectory
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse


@dataclass
class Memory:
    """The ledger in memory, with cached banks and vectors. Answers `recall` for any day and task."""

    deltas: list[Delta]
    config: MemoryConfig
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Text -> vector (384,), filled from the ledger and grown by need."""
    _banks: dict[tuple[date, str | None], Bank] = field(default_factory=dict)

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
        """The bank as of a day; a task with no delta yet shares the bank of everybody."""
        if not any(d.task_id == without_task and d.effective_day <= as_of for d in self.deltas):
            without_task = None
        key = (as_of, without_task)
        if key not in self._banks:
            self._banks[key] = fold(self.deltas, as_of, self.config, self.embed, without_task=without_task)
        return self._banks[key]

    def recall(self, task: str, *, domain: str, as_of: date, without_task: str | None = None) -> list[MemoryItem]:
        """The top-k items of a domain for a task, nearest first.

        Args:
            task: the task as the agent sees it.
            domain: only items of this domain are eligible.
            as_of: nothing learned after this day is seen.
            without_task: id of the task, so that memory cannot hold its own answer.
        """
        items = [item for item in self.bank(as_of, without_task=without_task).items if item.domain == domain]
        if not items or not self.config.top_k:
            return []
        scores = self.embed([item.key_text for item in items]) @ self.embed([task])[0]  # (items,)
        # Rounding keeps the order independent of the last bits, which batch shape and machine may change.
        ranked = sorted(zip(np.round(scores, 5), items, strict=True), key=lambda pair: (-pair[0], pair[1].item_id))
        return [item for _, item in ranked[: self.config.top_k]]

    def recall_before(self, trajectory: Trajectory) -> list[MemoryItem]:
        """What memory would have shown at the start of a trajectory: as of the day before, without its own task."""
        return self.recall(
            trajectory.task,
            domain=trajectory.domain,
            as_of=trajectory.day - timedelta(days=1),
            without_task=trajectory.task_id,
        )
