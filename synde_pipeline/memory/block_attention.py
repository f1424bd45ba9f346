"""Attention in blocks (BlockRank, arXiv 2510.05396): an instruction, documents side by side, the query last.

A document attends to the instruction and to itself, the query to everything before it; all documents stand at the same
positions. So a document's keys and values depend on nothing but its text: they are made once and kept. `BlockAttention`
works that way; `block_mask` and `attention_by_mask` say the same as one forward pass, which the tests compare it with.
What is read out of the attention is in `blockrank`.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import rotate_half

from synde_pipeline.errors import BaseModelError

Ids = tuple[int, ...]
KeyValues = tuple[torch.Tensor, torch.Tensor]
"""Rotated keys, and values, of one layer: (1, key heads, tokens, size) each."""

_FAMILIES = ("llama", "mistral", "qwen2")
"""`model_type` of families whose layers are Llama's; others rotate, norm or cap in their own ways."""
_ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary positions that do not change with the longest position seen, so that kept keys stay valid."""
_BATCH = 64
"""Documents that are read at once."""


class BlockAttention:
    """One model's attention over documents whose keys and values are kept.

    Args:
        model: a causal LM of a Llama-like family, in evaluation mode; its weights must not change afterwards.
        instruction: tokens of the first block.
        n_layers: layers that are read, from the lowest one; None for all.
        max_kept: documents whose keys and values are kept; the oldest ones go first.

    Raises:
        BaseModelError: the family is not supported.
    """

    def __init__(
        self, model: Any, instruction: Sequence[int], *, n_layers: int | None = None, max_kept: int = 4096
    ) -> None:
        _check(model)
        self._decoder = model.model
        self._longest: int = model.config.max_position_embeddings
        self._n_layers: int = n_layers or len(self._decoder.layers)
        self._max_kept = max_kept
        self._kept: dict[Ids, list[KeyValues]] = {}
        self._start = len(instruction)
        with torch.inference_mode():
            self._instruction = [(k, v) for _, k, v in self._read([tuple(instruction)], 0, None)]

    @property
    def n_kept(self) -> int:
        """Documents whose keys and values are kept."""
        return len(self._kept)

    @torch.inference_mode()
    def key_values(self, documents: Sequence[Ids]) -> list[list[KeyValues]]:
        """Keys and values of each document, layer by layer; the model reads only documents that are not kept."""
        found = {ids: self._kept[ids] for ids in documents if ids in self._kept}
        missing = sorted(set(documents) - found.keys(), key=lambda ids: (len(ids), ids))
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            layers = [(k, v) for _, k, v in self._read(batch, self._start, self._instruction)]
            for row, ids in enumerate(batch):
                cut = slice(row, row + 1), slice(None), slice(self._start, self._start + len(ids))
                found[ids] = [(k[cut].clone(), v[cut].clone()) for k, v in layers]  # a view would keep the whole batch
        self._kept |= found
        while len(self._kept) > self._max_kept:
            self._kept.pop(next(iter(self._kept)))
        return [found[ids] for ids in documents]

    @torch.inference_mode()
    def logits(self, documents: Sequence[Ids], queries: Sequence[Ids]) -> Iterator[torch.Tensor]:
        """Attention before the softmax, layer by layer: (queries, heads, query tokens, all tokens).

        Each query stands alone behind the same documents, padded at its end to the longest one. All tokens are the
        instruction's, the documents' and the query's; -inf where a query token would look ahead. Who stops early spares
        the layers above.
        """
        blocks = [self._instruction, *self.key_values(documents)]
        past = [
            (torch.cat([block[k][0] for block in blocks], 2), torch.cat([block[k][1] for block in blocks], 2))
            for k in range(self._n_layers)
        ]
        start = self._start + max(map(len, documents), default=0)
        for k, (q, key, _) in enumerate(self._read(queries, start, past)):
            key = key.repeat_interleave(q.shape[1] // key.shape[1], dim=1)
            scores = (q @ key.transpose(2, 3)) * self._decoder.layers[k].self_attn.scaling
            yield scores.masked_fill(~_seen(q.shape[2], key.shape[2], q.device), float("-inf"))

    def _read(
        self, rows: Sequence[Ids], start: int, past: Sequence[KeyValues] | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Queries, and keys and values with the past's before them, layer by layer; rows are padded at their ends.

        Raises:
            BaseModelError: the text ends beyond the positions that the model knows.
        """
        n = max(map(len, rows))
        if start + n > self._longest:
            raise BaseModelError(
                f"blocks end at position {start + n}",
                expected=f"at most {self._longest}, which the base reads",
                remedy="rerank fewer or shorter items",
            )
        device = self._decoder.embed_tokens.weight.device
        hidden = self._decoder.embed_tokens(
            torch.tensor([[*ids, *[0] * (n - len(ids))] for ids in rows], device=device)
        )
        cos, sin = self._decoder.rotary_emb(hidden, torch.arange(start, start + n, device=device)[None])
        mask = _seen(n, n + (past[0][0].shape[2] if past else 0), device)
        for k, layer in enumerate(islice(self._decoder.layers, self._n_layers)):
            attention = layer.self_attn
            normed = layer.input_layernorm(hidden)
            q, key, value = (
                project(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, key = (x * cos[:, None] + rotate_half(x) * sin[:, None] for x in (q, key))
            if past:
                key, value = (
                    torch.cat([before.expand(len(rows), -1, -1, -1), now], 2)
                    for before, now in zip(past[k], (key, value), strict=True)
                )
            yield q, key, value
            if k + 1 < self._n_layers:
                found = scaled_dot_product_attention(
                    q, key, value, attn_mask=mask, scale=attention.scaling, enable_gqa=True
                )
                hidden = hidden + attention.o_proj(found.transpose(1, 2).flatten(2))
                hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _seen(n: int, n_keys: int, device: Any) -> torch.Tensor:
    """Which keys each of the last `n` tokens sees, bool (n, keys): all of the past, and causally their own."""
    return torch.ones((n, n_keys), dtype=torch.bool, device=device).tril(n_keys - n)


def _check(model: Any) -> None:
    config = model.config
    rotary = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    slides = getattr(config, "sliding_window", None) is not None
    if config.model_type not in _FAMILIES or rotary not in _ROTARY or slides:
        found = f"{config.model_type} with {rotary} rotary positions" + " and a sliding window" * slides
        raise BaseModelError(
            f"the base is {found}",
            expected=f"one of {', '.join(_FAMILIES)} with full attention and fixed rotary positions",
            remedy="rank by the embedder alone on this base",
        )


# -- the same as one masked forward pass ---------------------------------------------------------------------------


def block_mask(lengths: Sequence[int]) -> torch.Tensor:
    """Which tokens see which, bool (tokens, tokens), for blocks of these lengths: instruction, documents, query.

    allow(i, j) = j <= i and (block(i) = block(j), or block(j) is the instruction, or block(i) is the query).
    """
    block = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    same = block[:, None] == block[None, :]
    allowed = same | (block == 0)[None, :] | (block == len(lengths) - 1)[:, None]
    return allowed.tril()


def block_positions(lengths: Sequence[int]) -> torch.Tensor:
    """Position of every token: documents begin together behind the instruction, the query behind the longest one."""
    head, *documents, query = lengths
    starts = [0, *[head] * len(documents), head + max(documents, default=0)]
    return torch.cat(
        [torch.arange(start, start + n) for start, n in zip(starts, (head, *documents, query), strict=True)]
    )


def attention_by_mask(model: Any, blocks: Sequence[Ids]) -> list[torch.Tensor]:
    """Attention weights of every layer, (heads, tokens, tokens), from the model's own forward pass under the mask."""
    lengths = list(map(len, blocks))
    mask = torch.zeros((1, 1, sum(lengths), sum(lengths)), dtype=model.dtype)
    mask.masked_fill_(~block_mask(lengths), torch.finfo(model.dtype).min)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the one that returns weights
    try:
        with torch.inference_mode():
            found = model(
                input_ids=torch.tensor([[id for ids in blocks for id in ids]], device=model.device),
                attention_mask=mask.to(model.device),
                position_ids=block_positions(lengths)[None].to(model.device),
                output_attentions=True,
                use_cache=False,
            )
    finally:
        model.set_attn_implementation(before)
    return [layer[0] for layer in found.attentions]
