"""What calls may cost, may still cost, and have cost."""

import threading
from dataclasses import dataclass
from typing import NamedTuple, Self

from synde_pipeline.errors import InputError, LlmBudgetError
from synde_pipeline.settings import LlmConfig


@dataclass(frozen=True)
class Usage:
    """What was used so far."""

    calls: int = 0
    """Requests sent, those that failed too."""
    cached: int = 0
    """Answers that were there already."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def plus(self, **more: float) -> Self:
        """The sum."""
        return type(self)(**{name: value + more.get(name, 0) for name, value in vars(self).items()})

    def since(self, before: Self) -> Self:
        """What was used after `before`."""
        return self.plus(**{name: -value for name, value in vars(before).items()})


@dataclass(frozen=True)
class Price:
    """What calls that were not made yet would cost at most, if each is answered at its first try."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Price") -> "Price":
        return Price(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)

    def __str__(self) -> str:
        money = f", costing at most {self.cost:.4g}" if self.cost else ""
        return f"{self.calls} new calls of at most {self.tokens} tokens{money}, repairs and repeated tries not counted"


class Spend(NamedTuple):
    """What one try takes, or can take at most."""

    tokens_in: int
    tokens_out: int
    cost: float

    @property
    def tokens(self) -> int:
        """Of prompt and answer."""
        return self.tokens_in + self.tokens_out


NOTHING = Spend(0, 0, 0.0)


def spend_of(tokens_in: int, tokens_out: int, config: LlmConfig) -> Spend:
    """A chat completion of so many tokens."""
    return Spend(tokens_in, tokens_out, (tokens_in * config.price_in + tokens_out * config.price_out) / 1e6)


def embedding_spend(tokens: int, config: LlmConfig) -> Spend:
    """Texts of so many tokens, embedded."""
    price = config.price_in if config.price_embedding is None else config.price_embedding
    return Spend(tokens, 0, tokens * price / 1e6)


class Budget:
    """Counts what is spent, and stops before a call that could exceed what may be. Threads share it.

    Raises:
        InputError: money is limited and no price is known.
    """

    def __init__(self, config: LlmConfig) -> None:
        if config.max_cost is not None and not (config.price_in or config.price_out):
            raise InputError(
                "llm.max_cost without a price",
                expected="llm.price_in and llm.price_out, per million tokens",
                remedy="set SYNDE_LLM_PRICE_IN and SYNDE_LLM_PRICE_OUT, or limit tokens by SYNDE_LLM_MAX_TOKENS",
            )
        self._config = config
        self._lock = threading.Lock()
        self._reserved_tokens = 0
        self._reserved_cost = 0.0
        self.usage = Usage()
        """What was used so far."""

    def note_cached(self) -> None:
        """Count an answer that cost nothing."""
        with self._lock:
            self.usage = self.usage.plus(cached=1)

    def reserve(self, most: Spend) -> None:
        """Set aside what one try can use at most.

        Raises:
            LlmBudgetError: with everything spent and set aside, that could be more than is allowed.
        """
        with self._lock:
            spent = self.usage.tokens_in + self.usage.tokens_out
            self._check("tokens", spent, self._reserved_tokens, most.tokens, self._config.max_tokens)
            self._check("cost", self.usage.cost, self._reserved_cost, most.cost, self._config.max_cost)
            self._reserved_tokens += most.tokens
            self._reserved_cost += most.cost
            self.usage = self.usage.plus(calls=1)

    def settle(self, most: Spend, used: Spend) -> None:
        """Give back what was set aside, and count what was used."""
        with self._lock:
            self._reserved_tokens -= most.tokens
            self._reserved_cost -= most.cost
            self.usage = self.usage.plus(**used._asdict())

    def _check(self, what: str, spent: float, reserved: float, wanted: float, limit: float | None) -> None:
        if limit is None or spent + reserved + wanted <= limit:
            return
        flying = f", {reserved:.6g} may be by calls in flight" if reserved else ""
        raise LlmBudgetError(
            f"the budget of {limit:.6g} {what} is used up: {spent:.6g} is spent{flying}, "
            f"and the next call could take {wanted:.6g}",
            remedy=f"raise llm.max_{what} and run again: answers that came are kept and cost nothing",
        )
