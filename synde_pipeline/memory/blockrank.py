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
from synde_pipeline.prompting import MEMORY, TASK, THINK, PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig

if TYPE_CHECKING:
    from synde_pipeline.memory.block_attention import BlockAttention

N_SIGNAL = 2
"""Last tokens of the query whose attention counts; BlockRank reads two ("[" and the one before it)."""
_CONTENT_FREE = "N/A"
"""The task of ICR's calibration: what is attended to whatever is asked."""


class BlockRank:
    """Scores of memory items for a task, from one base's attention; keys and values of items are kept between tasks.

    Args:
        base: of a Llama-like family; its weights must not change afterwards.
        config: of its prompts.
        layer: whose attention is read, counted from 0; None for the middle one.
        n_signal: last tokens of the task's block whose attention counts; None for all.

    Raises:
        BaseModelError: the base's family is not supported.
    """

    def __init__(
        self, base: Base, config: PromptConfig, *, layer: int | None = None, n_signal: int | None = N_SIGNAL
    ) -> None:
        from synde_pipeline.memory.block_attention import BlockAttention

        self._encoder = PromptEncoder(base.tokenizer, config)
        self._knows_markers = len(self._encoder.marker(MEMORY)) == 1
        n_layers = base.model.config.num_hidden_layers
        self.layer: int = n_layers // 2 if layer is None else layer
        self._signal = slice(-n_signal if n_signal else None, None)
        self._attention = partial(BlockAttention, base.model, self.instruction)
        self._ranking = self._attention(n_layers=self.layer + 1)

    @cached_property
    def instruction(self) -> tuple[int, ...]:
        """Tokens of the first block. It holds no task: items read it, and their keys must serve every task."""
        if self._knows_markers:
            return tuple(self._encoder.marker(MEMORY))
        return tuple(self._encoder.text("Notes from earlier tasks. Find the note that helps with the task below.\n"))

    def item_ids(self, item: MemoryItem) -> tuple[int, ...]:
        """Tokens of an item's block: as agents read it."""
        return tuple(self._encoder.item(item))

    def query_ids(self, domain: str, task: str) -> tuple[int, ...]:
        """Tokens of the last block."""
        text = f"{domain}: {task}"
        if self._knows_markers:
            return tuple([*self._encoder.marker(TASK), *self._encoder.text(text), *self._encoder.marker(THINK)])
        return tuple(self._encoder.text(f"\n\nTask: {text}\nThe note that helps: ["))

    def scores(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        """BlockRank's score of each item; they sum to 1.

        softmax over the items' tokens alone, mean over heads and signal tokens, sum over an item's tokens.
        """
        documents, query = self._blocks(task, items)
        (logits,) = islice(self._ranking.logits(documents, query), self.layer, None)
        start = len(self.instruction)
        chosen = logits[:, self._signal, start : start + sum(map(len, documents))]
        return _sums(chosen.softmax(-1).mean((0, 1)), documents)

    def icr_scores(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        """Score of each item by in-context reranking without training (ICR, arXiv 2410.02642).

        Attention summed over layers and heads, mean over the query's tokens, minus the same for the task "N/A".
        """
        asked, free = (self._all_attention(text, items) for text in (task, _CONTENT_FREE))
        return [a - b for a, b in zip(asked, free, strict=True)]

    @cached_property
    def _reading_all(self) -> "BlockAttention":
        return self._attention()

    def _all_attention(self, task: str, items: Sequence[MemoryItem]) -> list[float]:
        documents, query = self._blocks(task, items)
        start = len(self.instruction)
        own = slice(start, start + sum(map(len, documents)))
        found: Any = sum(
            logits.softmax(-1)[:, :, own].mean(1).sum(0) for logits in self._reading_all.logits(documents, query)
        )
        return _sums(found, documents)

    def _blocks(self, task: str, items: Sequence[MemoryItem]) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
        return [self.item_ids(item) for item in items], self.query_ids(items[0].domain, task)


def rerank(query: str, items: Sequence[MemoryItem], model: BlockRank) -> list[tuple[MemoryItem, float]]:
    """Items of one domain by BlockRank's score for a task, best first; equal scores keep the order of item ids.

    Args:
        query: the task as the agent sees it.
        items: what the embedder found.
        model: made once for a base, so that the items' keys and values are read once.
    """
    if not items:
        return []
    # Rounding keeps the order independent of the last bits, which batch shape and machine may change.
    scored = [(item, round(score, 6)) for item, score in zip(items, model.scores(query, items), strict=True)]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].item_id))


def _sums(tokens: Any, documents: Sequence[tuple[int, ...]]) -> list[float]:
    """Sum of each document's part of (document tokens,)."""
    return [float(part.sum()) for part in tokens.split(list(map(len, documents)))]
