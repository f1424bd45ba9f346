"""Attention inside packed sequences: each attends to itself alone, whatever lies end to end with it.

Registered with transformers' attention interface, so that every family that goes through it can be packed. No mask is
built: transformers makes none for an implementation that it has no mask for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

_NAME = "synde_packed"

_CHUNK = 64
"""Queries computed at once where few are wanted; each chunk reads keys up to its last query."""


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Let the model's calls inside attend by sequence; they need `sequence_lengths`, an argument of ours.

    Raises:
        ValueError: the family does not go through the attention interface.
    """
    if not model._can_set_attn_implementation():
        raise ValueError(f"{type(model).__name__} has attention of its own")
    AttentionInterface.register(_NAME, attend)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    **options: Any,
) -> tuple[Any, None]:
    """Causal attention of each packed sequence on its own.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, size); keys and values may have fewer heads.
        key: (1, key heads, tokens, size).
        value: (1, key heads, tokens, size).
        attention_mask: None.
        **options: `sequence_lengths`; `last_queries`, for each sequence the positions whose output of the last layer
            is read, ascending, or None for all; what the family passes: `scaling`, `sliding_window`, `softcap`.

    Returns:
        (1, tokens, heads, size), zeros where nobody reads, and no attention weights.
    """
    lengths: Sequence[int] = options["sequence_lengths"]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scale, cap = options.get("scaling"), options.get("softcap")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    window, last = options.get("sliding_window"), options.get("last_queries")
    wanted = [None] * len(lengths) if last is None or cap is not None or not _is_last(module) else last
    found = []
    parts = (x.split(lengths, dim=2) for x in (query, key, value))
    for q, k, v, rows in zip(*parts, wanted, strict=True):
        if rows is not None and _pays(rows, q.shape[2]):
            found.append(_at(rows, q, k, v, window, scale))
            continue
        mask = None if window is None or q.shape[2] <= window else _visible(torch.arange(q.shape[2]), window, q)
        found.append(_plain(q, k, v, mask, scale) if cap is None else _capped(q, k, v, mask, scale, cap))
    return torch.cat(found, dim=2).transpose(1, 2), None


def _is_last(layer: Any) -> bool:
    n_layers = getattr(getattr(layer, "config", None), "num_hidden_layers", None)
    return n_layers is not None and getattr(layer, "layer_idx", None) == n_layers - 1


def _pays(rows: Any, n_tokens: int) -> bool:
    """Whether the wanted queries read fewer keys than all queries do, whose kernel skips what is ahead."""
    return sum(len(part) * (int(part[-1]) + 1) for part in rows.split(_CHUNK)) < n_tokens**2 / 2


def _at(rows: Any, q: Any, k: Any, v: Any, window: int | None, scale: float) -> Any:
    """(1, heads, tokens, size): attention of the queries at `rows`, zeros elsewhere."""
    found = []
    for part in rows.split(_CHUNK):
        n_keys = int(part[-1]) + 1
        mask = _visible(part, window, q)
        found.append(_plain(q[:, :, part], k[:, :, :n_keys], v[:, :, :n_keys], mask, scale))
    return q.new_zeros(*q.shape[:3], v.shape[-1]).index_copy(2, rows.to(q.device), torch.cat(found, dim=2))


def _visible(rows: Any, window: int | None, like: Any) -> Any:
    """Which keys, up to the last of the ascending rows, each of them sees: (rows, keys), bool."""
    behind = rows[:, None] - torch.arange(int(rows[-1]) + 1)
    seen = behind >= 0
    return (seen if window is None else seen & (behind < window)).to(like.device)


def _plain(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)


def _capped(q: Any, k: Any, v: Any, mask: Any, scale: float, cap: float) -> Any:
    """Attention with soft-capped scores (Gemma 2), which no fused kernel knows."""
    scores = (q @ k.transpose(2, 3)) * scale
    scores = cap * torch.tanh(scores / cap)
    if mask is None:
        n = q.shape[2]
        mask = torch.ones((n, n), dtype=torch.bool, device=q.device).tril()
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
