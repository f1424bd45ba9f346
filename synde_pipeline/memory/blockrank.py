"""Reranks memory items by the local base's own attention to them: BlockRank, and the untrained ICR.

The base reads an instruction, the items side by side, and the task behind them (`block_attention`); how much the task's
tokens attend to an item is the item's score. Nothing is generated, nothing is trained. Whether it ranks better than the
embedder is a question for `studies.blockrank`: exact attention says nothing about it.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from synde_pipeline.base_model import Base
from synde_pipeline.prompting import ACT, ARGS, MEMORY, TASK, THINK, PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig

if TYPE_CHECKING:
    from synde_pipeline.memory.block_attention import BlockAttention

N_CANDIDATES = 32
"""Items that the embedder hands over."""
_CONTENT_FREE = "N/A"
"""The task of ICR's calibration: what is attended to whatever is asked."""
_N_SIGNAL = 2
"""BlockRank's own: "[" and the token before it."""
Ids = tuple[int, ...]


class BlockRank:
    """Scores of memory items for a task, from one base's attention; keys and values of items are kept between tasks.

    Args:
        base: of a Llama-like family; its weights must not change afterwards.
        config: of its prompts.
        layer: whose attention is read, counted from 0; None for the middle one.
        per_title: ask once for each title among the items, in the words of a turn that is about to look the item up,
            instead of once with the task alone; for bases that know our markers. None where they do.
        n_signal: last tokens of a query whose attention counts; None for one per title, else for BlockRank's two.

    Raises:
        BaseModelError: the base's family is not supported.
    """

    def __init__(
        self,
        base: Base,
        config: PromptConfig,
        *,
        layer: int | None = None,
        per_title: bool | None = None,
        n_signal: int | None = None,
    ) -> None:
        from synde_pipeline.memory.block_attention import BlockAttention

        self._encoder = PromptEncoder(base.tokenizer, config)
        self._knows_markers = len(self._encoder.marker(MEMORY)) == 1
        self.layer: int = base.model.config.num_hidden_layers // 2 if layer is None else layer
        self.per_title = self._knows_markers if per_title is None else per_title and self._knows_markers
        self.n_signal = n_signal or (1 if self.per_title else _N_SIGNAL)
        self._attention = partial(BlockAttention, base.model, self.instruction)
        self._ranking = self._attention(n_layers=self.layer + 1)

    @cached_property
    def instruction(self) -> Ids:
        """Tokens of the first block. It holds no task: items read it, and their keys must serve every task."""
        if self._knows_markers:
            return tuple(self._encoder.marker(MEMORY))
        return tuple(self._encoder.text("Notes from earlier tasks. Find the note that helps with the task below.\n"))

    def item_ids(self, item: MemoryItem) -> Ids:
        """Tokens of an item's block: as agents read it."""
        return tuple(self._encoder.item(item))

    def queries(self, task: str, items: Sequence[MemoryItem]) -> list[Ids]:
        """Tokens of the last block: one a title, or one for all."""
        text, marker = self._encoder.text, self._encoder.marker
        asked = f"{items[0].domain}: {task}"
        if not self._knows_markers:
            return [tuple(text(f"\n\nTask: {asked}\nThe note that helps: ["))]
        asked_ids = [*marker(TASK), *text(asked)]
        if not self.per_title:
            return [(*asked_ids, *marker(THINK))]
        # The embedded base looks facts up where an action's arguments begin: that is where it attends to items.
        return [(*asked_ids, *marker(ACT), *text(title), *marker(ARGS)) for title in sorted({i.title for i in items})]

    def scores(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        """BlockRank's score of each item; they sum to 1.

        softmax over the items' tokens alone, mean over heads and signal tokens, sum over an item's tokens.
        """
        documents, queries = self._documents(items), self.queries(task, items)
        (logits,) = islice(self._ranking.logits(documents, queries), self.layer, None)
        own = self._columns(documents)
        parts = [
            row[:, max(len(ids) - self.n_signal, 0) : len(ids), own].softmax(-1).mean((0, 1))
            for row, ids in zip(logits, queries, strict=True)
        ]
        return _sums(sum(parts) / len(parts), documents)

    def icr_scores(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        """Score of each item by in-context reranking without training (ICR, arXiv 2410.02642).

        Attention summed over layers and heads, mean over the queries' tokens, minus the same for the task "N/A".
        """
        asked, free = (self._all_attention(text, items) for text in (task, _CONTENT_FREE))
        return [a - b for a, b in zip(asked, free, strict=True)]

    @cached_property
    def _reading_all(self) -> "BlockAttention":
        return self._attention()

    def _all_attention(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        documents, queries = self._documents(items), self.queries(task, items)
        own = self._columns(documents)
        found: Any = sum(
            row.softmax(-1)[:, : len(ids), own].mean(1).sum(0)
            for logits in self._reading_all.logits(documents, queries)
            for row, ids in zip(logits, queries, strict=True)
        )
        return _sums(found / len(queries), documents)

    def _documents(self, items: Sequence[MemoryItem]) -> list[Ids]:
        return [self.item_ids(item) for item in items]

    def _columns(self, documents: Sequence[Ids]) -> slice:
        """Where the documents' tokens stand among all."""
        start = len(self.instruction)
        return slice(start, start + sum(map(len, documents)))


def rerank(query: str, items: Sequence[MemoryItem], model: BlockRank) -> list[tuple[MemoryItem, float]]:
    """Items of one domain by BlockRank's score for a task, best first; equal scores keep the order of item ids.

    Args:
        query: the task as the agent sees it.
        items: what the embedder found.
        model: made once for a base, so that the items' keys and values are read once.
    """
    if not items:
        return []
    ordered = sorted(items, key=lambda item: item.item_id)  # one order, one sum: the given order changes no bit
    scores = [round(score, 5) for score in model.scores(query, ordered)]
    return sorted(zip(ordered, scores, strict=True), key=lambda pair: -pair[1])


def _sums(tokens: Any, documents: Sequence[Ids]) -> list[float]:
    """Sum of each document's part of (document tokens,)."""
    return [float(part.sum()) for part in tokens.split(list(map(len, documents)))]
