"""One answer in the making: how its tokens are drawn, when it ends, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from synde_pipeline.training.bank import NONE, AdapterBank

Ending = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Slot:
    """The adapter of a generation."""

    bank: AdapterBank
    index: int


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int
    stops: tuple[tuple[int, ...], ...] = ()
    """Runs of tokens that end the answer and are no part of it."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Share of the probability from which is drawn, the likeliest tokens first."""
    seed: int | None = None


@dataclass(eq=False)
class Generation:
    """One answer in the making. Callbacks are called by the engine's thread, and must be quick."""

    ids: Sequence[int]
    """Prompt."""
    sampling: Sampling
    on_token: Callable[[int], None]
    on_end: Callable[[Ending | BaseException], None]
    slot: Slot | None = None
    is_cancelled: bool = False
    """Set by whoever does not want it any more."""
    said: list[int] = field(default_factory=list)
    _draw: Any = None
    _n_told: int = 0

    @property
    def weights(self) -> Slot | None:
        """What its tokens are read with; None is the base alone."""
        return self.slot if self.slot and self.slot.index != NONE else None

    def draw(self, logits: Any) -> int:
        """Draw the next token. Logits: (vocabulary,)."""
        how = self.sampling
        if how.temperature == 0:
            return int(logits.argmax())
        if self._draw is None:
            self._draw = np.random.default_rng(how.seed)
        shares, order = (logits.double() / how.temperature).softmax(-1), None
        if how.top_p < 1:
            shares, order = shares.sort(descending=True)
        sums = shares.cumsum(-1)
        n = len(sums) if order is None else min(int((sums < how.top_p).sum()) + 1, len(sums))  # as few as reach it
        at = min(int((sums < self._draw.random() * float(sums[n - 1])).sum()), n - 1)
        return at if order is None else int(order[at])

    def take(self, token: int) -> Ending | None:
        """Add a token; says whether the answer has ended. What may be the beginning of a stop is held back."""
        self.said.append(token)
        n_held = 0
        for stop in self.sampling.stops:
            n = _overlap(self.said, stop)
            if n == len(stop) > 0:
                del self.said[-n:]
                self._tell(len(self.said))
                return "stop"
            n_held = max(n_held, n)
        is_full = len(self.said) >= self.sampling.max_tokens
        self._tell(len(self.said) - (0 if is_full else n_held))
        return "length" if is_full else None

    def _tell(self, n: int) -> None:
        """Let everything up to the n-th token be known."""
        for token in self.said[self._n_told : n]:
            self.on_token(token)
        self._n_told = max(self._n_told, n)


def _overlap(said: Sequence[int], stop: Sequence[int]) -> int:
    """Tokens at the end of an answer with which a stop begins, at most."""
    return next((n for n in range(min(len(stop), len(said)), 0, -1) if tuple(said[-n:]) == tuple(stop[:n])), 0)
