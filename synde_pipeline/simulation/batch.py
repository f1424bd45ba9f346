"""Rows of different lengths on one growing KV cache: what makes a rollout in lockstep fast."""

from collections.abc import Sequence
from typing import Any


class Batch:
    """Rows of different lengths on one KV cache: padding lies on the left of every chunk and is masked out."""

    def __init__(self, model: Any, pad_id: int) -> None:
        from transformers.cache_utils import Cache

        self._model = model
        self._pad = pad_id
        self._cache = Cache(layer_class_to_replicate=_layer_class())
        self._mask: Any = None
        """(rows, tokens so far): 1 where a row has a token."""

    def feed(self, chunks: Sequence[Sequence[int]]) -> Any:
        """Give each row its next tokens; returns the logits behind the last of them, (rows, vocabulary).

        A row whose chunk is empty is fed padding; its logits mean nothing.
        """
        import torch

        width = max(map(len, chunks))
        ids = torch.full((len(chunks), width), self._pad)
        mask = torch.zeros((len(chunks), width), dtype=torch.long)
        for k, chunk in enumerate(chunks):
            if chunk:
                ids[k, -len(chunk) :] = torch.tensor(chunk)
                mask[k, -len(chunk) :] = 1
        self._mask = mask if self._mask is None else torch.cat([self._mask, mask], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows only."""
        import torch

        self._cache.batch_select_indices(torch.tensor(rows, dtype=torch.long))
        self._mask = self._mask[list(rows)]


def _layer_class() -> Any:
    """A cache layer that grows in place; the library's own copies itself for every token."""
    import torch
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        buffers: Any = None

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            done = self.get_seq_length()
            end = done + key_states.shape[-2]
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            if self.buffers is None or end > self.buffers[0].shape[-2]:
                rows, heads, _, width = key_states.shape
                room = [torch.empty((rows, heads, 2 * end, width), dtype=key_states.dtype) for _ in range(2)]
                if self.buffers is not None:
                    for new, old in zip(room, self.buffers, strict=True):
                        new[..., :done, :] = old[..., :done, :]
                self.buffers = room
            for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[..., done:end, :] = states
            self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            done = self.get_seq_length()
            self.buffers = [buffer[indices] for buffer in self.buffers]
            self.keys, self.values = (buffer[..., :done, :] for buffer in self.buffers)

    return GrowingLayer
