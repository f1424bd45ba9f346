"""Rows of different lengths on one growing KV cache: what makes rollouts in lockstep, and serving, fast."""

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
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
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

        self._cache.batch_select_indices(torch.tensor(rows, dtype=torch.long, device=self._mask.device))
        self._mask = self._mask[list(rows)]
        first = int(self._mask.any(0).to(torch.uint8).argmax())
        if first:  # nobody's tokens any more: without this a batch that rows join and leave would grow for ever
            self._cut(first)

    def n_tokens(self, row: int) -> int:
        """Tokens that a row has been fed."""
        return int(self._mask[row].sum())

    def part(self, row: int, n: int) -> "Batch":
        """The first n tokens of a row as a batch of its own; the row has been fed without gaps."""
        first = self.width - self.n_tokens(row)
        layers: list[Any] = self._cache.layers
        found = Batch(self._model, self._pad)
        found._cache.layers = [_part(layer, row, slice(first, first + n)) for layer in layers]
        found._mask = self._mask.new_ones(1, n)
        return found

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return self._mask.shape[1]

    def join(self, other: "Batch") -> None:
        """Take the rows of another batch of the same model in, behind one's own; the other is used up."""
        import torch

        width = max(self.width, other.width)
        layers: tuple[list[Any], list[Any]] = (self._cache.layers, other._cache.layers)
        for mine, theirs in zip(*layers, strict=True):
            mine.join(theirs, width)
        self._mask = torch.cat([_padded(one, width, 1) for one in (self._mask, other._mask)])

    def _cut(self, first: int) -> None:
        """Drop the leading columns."""
        self._mask = self._mask[:, first:]
        layers: list[Any] = self._cache.layers
        for layer in layers:
            layer.cut(first)


def _padded(tensor: Any, width: int, dim: int) -> Any:
    """Zeros before a dimension's beginning, up to a width."""
    import torch

    lacking = list(tensor.shape)
    lacking[dim] = width - lacking[dim]
    return torch.cat([tensor.new_zeros(lacking), tensor], dim) if lacking[dim] else tensor


def _part(layer: Any, row: int, tokens: slice) -> Any:
    """Some tokens of one row, as a layer of its own."""
    found = type(layer)()
    found.lazy_initialization(layer.keys, layer.values)
    found.buffers = [one[row : row + 1, :, tokens].clone() for one in (layer.keys, layer.values)]
    found.keys, found.values = found.buffers
    return found


def _roomier(buffers: Any, keys: Any, values: Any, span: tuple[int, int]) -> list[Any]:
    """Buffers of twice the tokens that are needed, with the tokens so far."""
    done, end = span
    room = [one.new_empty((*one.shape[:2], 2 * end, one.shape[3])) for one in (keys, values)]
    for new, old in zip(room, buffers or (), strict=False):
        new[..., :done, :] = old[..., :done, :]
    return room


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
                self.buffers = _roomier(self.buffers, key_states, value_states, (done, end))
            for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[..., done:end, :] = states
            self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            done = self.get_seq_length()
            self.buffers = [buffer[indices] for buffer in self.buffers]
            self.keys, self.values = (buffer[..., :done, :] for buffer in self.buffers)

        def join(self, other: "GrowingLayer", width: int) -> None:
            pairs = ((self.keys, other.keys), (self.values, other.values))
            self.buffers = [torch.cat([_padded(one, width, 2) for one in pair]) for pair in pairs]
            self.keys, self.values = self.buffers

        def cut(self, first: int) -> None:
            done = self.get_seq_length() - first
            self.buffers = [buffer[..., first:, :] for buffer in self.buffers]
            self.keys, self.values = (buffer[..., :done, :] for buffer in self.buffers)

    return GrowingLayer
