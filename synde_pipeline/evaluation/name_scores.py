"""How likely names are after prefixes of a window, all in one forward pass that branches off the window's cache.

The tokens of all names are appended to the window as one sequence, at the positions that follow their prefixes; a mask
lets each see its own prefix and its own name, and nothing else (tree attention, as in SpecInfer, Miao et al. 2023).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_TOKENS = 2048
"""Of names in one pass."""
TOLERANCE = 1e-3
"""Nats by which branching and reading anew may differ; models that take no mask differ by whole nats."""


class Asked(NamedTuple):
    """Names that may follow a prefix."""

    start: int
    """Length of the prefix, a part of the window."""
    names: Sequence[Sequence[int]]
    """Tokens of each name."""


class NameScores:
    """Scores names with one model; finds out by itself whether that model can branch.

    Sliding-window and recurrent caches cannot: there the prefix is read again with each name.
    """

    def __init__(self, model: Any, most_tokens: int = MOST_TOKENS) -> None:
        self._model = model
        self._most_tokens = most_tokens
        self._branches: bool | None = None

    def rest(self, ids: Any, cache: Any, asked: Sequence[Asked]) -> list[list[float]]:
        """Log probability of each name's tokens after the first one, which the window's own logits know.

        Args:
            ids: (1, tokens), the window.
            cache: of the window's forward pass; used up.
            asked: what to score.
        """
        if not asked:
            return []
        if self._branches is None:
            wanted = self._read_again(ids, asked[0])
            found = self._tried(ids, cache, asked)
            self._branches = found is not None and _is_close(found[0], wanted)
        else:
            found = self._tried(ids, cache, asked) if self._branches else None
        if found is not None and self._branches:
            return found
        return [self._read_again(ids, one) for one in asked]

    def _tried(self, ids: Any, cache: Any, asked: Sequence[Asked]) -> list[list[float]] | None:
        try:
            return self._branched(ids.shape[1], cache, asked)
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            return None

    def _branched(self, n_window: int, cache: Any, asked: Sequence[Asked]) -> list[list[float]]:
        flat = [(one.start, name) for one in asked for name in one.names]
        found: list[float] = []
        for part in _parts(flat, self._most_tokens):
            if found:
                cache.crop(n_window - cache.get_seq_length())  # negative: so many tokens off the end
            found += self._pass(n_window, cache, part)
        each = iter(found)
        return [[next(each) for _ in one.names] for one in asked]

    def _pass(self, n_window: int, cache: Any, names: Sequence[tuple[int, Sequence[int]]]) -> list[float]:
        import torch

        # A name's last token is predicted, never read.
        read = [(start, name[:-1], name[1:]) for start, name in names]
        n = sum(len(seen) for _, seen, _ in read)
        if n == 0:
            return [0.0] * len(names)
        hidden = torch.ones((n, n_window + n), dtype=torch.bool)
        at = 0
        for start, seen, _ in read:
            own = slice(at, at + len(seen))
            hidden[own, :start] = False
            hidden[own, n_window + own.start : n_window + own.stop] = torch.ones(len(seen), len(seen)).triu(1).bool()
            at = own.stop
        dtype = self._model.dtype
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)
        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.tensor([[token for _, seen, _ in read for token in seen]]),
                attention_mask=mask[None, None],
                position_ids=torch.tensor([[start + k for start, seen, _ in read for k in range(len(seen))]]),
                past_key_values=cache,
                use_cache=True,
            ).logits[0]
        said = torch.tensor([token for _, _, later in read for token in later])
        log_p = logits.float().log_softmax(-1).gather(-1, said[:, None])[:, 0]
        return [float(part.sum()) for part in log_p.split([len(seen) for _, seen, _ in read])]

    def _read_again(self, ids: Any, one: Asked) -> list[float]:
        import torch

        width = max(map(len, one.names))
        read, mask = torch.zeros((len(one.names), width), dtype=torch.long), torch.zeros((len(one.names), width))
        for row, name in enumerate(one.names):
            read[row, : len(name)] = torch.tensor(name)
            mask[row, : len(name)] = 1
        whole = torch.cat([ids[:, : one.start].expand(len(one.names), -1), read[:, :-1]], dim=1)
        with torch.inference_mode():
            logits = self._model(input_ids=whole, use_cache=False).logits[:, one.start :]
        later = logits.float().log_softmax(-1).gather(-1, read[:, 1:, None])[..., 0]  # (names, width - 1)
        return (later * mask[:, 1:]).sum(-1).tolist()


def _parts(names: Sequence[tuple[int, Sequence[int]]], most: int) -> list[Sequence[tuple[int, Sequence[int]]]]:
    """Names in groups of at most so many tokens."""
    longest = max((len(name) for _, name in names), default=1)
    size = max(1, most // longest)
    return [names[k : k + size] for k in range(0, len(names), size)]


def _is_close(found: Sequence[float], wanted: Sequence[float]) -> bool:
    return all(abs(one - other) <= TOLERANCE for one, other in zip(found, wanted, strict=True))
