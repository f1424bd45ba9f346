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
        **options: `sequence_lengths`, and what the family passes: `scaling`, `sliding_window`, `softcap`.

    Returns:
        (1, tokens, heads, size), and no attention weights.
    """
    lengths: Sequence[int] = options["sequence_lengths"]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scale, cap = options.get("scaling"), options.get("softcap")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    found = []
    parts = (x.split(lengths, dim=2) for x in (query, key, value))
    for q, k, v in zip(*parts, strict=True):
        mask = _window(q, options.get("sliding_window"))
        found.append(_plain(q, k, v, mask, scale) if cap is None else _capped(q, k, v, mask, scale, cap))
    return torch.cat(found, dim=2).transpose(1, 2), None


def _window(query: Any, window: int | None) -> Any:
    """Which keys each query sees (tokens, tokens), bool; None where plain causal attention sees the same."""
    n = query.shape[2]
    if window is None or n <= window:
        return None
    place = torch.arange(n, device=query.device)
    behind = place[:, None] - place[None, :]
    return (behind >= 0) & (behind < window)


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
