"""What was read already: keys and values of finished answers, for requests that begin with the same tokens.

The next step of an execution repeats its whole conversation. With these, only what is new is read: exact, because a
token's keys and values depend on the tokens before it and on the weights alone.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.models.batch import Batch

_SHORTEST = 16
"""Tokens below which copying costs as much as reading them again."""


@dataclass(frozen=True, eq=False)
class _Kept:
    weights: Hashable
    ids: NDArray[np.int64]
    batch: Batch
    """Of this one row."""

    def common(self, ids: NDArray[np.int64]) -> int:
        """Tokens that both begin with."""
        n = min(len(self.ids), len(ids))
        differs = self.ids[:n] != ids[:n]
        return int(differs.argmax()) if differs.any() else n


class Prefixes:
    """The last rows that were finished, up to a number of tokens in all.

    Args:
        most_tokens: 0 keeps none.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most = most_tokens
        self._kept: list[_Kept] = []  # the one used last at the end

    @property
    def n_tokens(self) -> int:
        """Tokens that are kept."""
        return sum(len(one.ids) for one in self._kept)

    def keep(self, weights: Hashable, ids: Sequence[int], batch: Batch, row: int) -> None:
        """Keep a row of a batch.

        Args:
            weights: what it was read with.
            ids: its tokens; those that were drawn but not read any more may be among them.
            batch: of which it is a row.
            row: which one.
        """
        n = min(len(ids), batch.n_tokens(row))
        if not _SHORTEST <= n <= self._most:
            return
        new = np.array(ids[:n], np.int64)
        # What the new row begins with is in it.
        self._kept = [one for one in self._kept if one.weights != weights or one.common(new) < len(one.ids)]
        self._kept.append(_Kept(weights, new, batch.part(row, n)))
        while self.n_tokens > self._most:
            del self._kept[0]

    def begin(self, weights: Hashable, ids: Sequence[int]) -> tuple[Batch, int] | None:
        """A row that has read the most of a prompt's beginning, and how many tokens; None where it has read too few."""
        wanted = np.array(ids[:-1], np.int64)  # behind the last token the logits are wanted: it is read again
        found = max(
            ((one.common(wanted), k) for k, one in enumerate(self._kept) if one.weights == weights), default=(0, 0)
        )
        n, k = found
        if n < _SHORTEST:
            return None
        one = self._kept.pop(k)
        self._kept.append(one)
        return one.batch.part(0, n), n

    def forget(self, is_gone: Callable[[Hashable], bool]) -> None:
        """Some weights are gone."""
        self._kept = [one for one in self._kept if not is_gone(one.weights)]
