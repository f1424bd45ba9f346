"""Lived runs as tokens, with the memory in their prompts and without: what is compared, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from synde_pipeline.models.implicit import run as logits_of
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.agent import Run
from synde_pipeline.simulation.worlds.base import ANSWER


@dataclass(frozen=True)
class Pair:
    """One run as tokens, with the memory in its prompt and without."""

    with_memory: list[int]
    without: list[int]
    n_before: int
    """First tokens that both share: the task, which stands before the memory."""
    decided: tuple[int, ...]
    """Positions in `without` of the argument tokens of right actions."""

    @property
    def shift(self) -> int:
        """Tokens of memory."""
        return len(self.with_memory) - len(self.without)

    @classmethod
    def of(cls, encoder: PromptEncoder, run: Run, memory: Sequence[MemoryItem]) -> "Pair":
        """A run whose agent was shown some memory."""
        domain, text = run.task.place.world.domain, run.task.text
        turns = [_Turn(k, *turn) for k, turn in enumerate(_words(run))]
        (shown,) = encoder.windows(domain, text, memory, turns)
        (bare,) = encoder.windows(domain, text, (), turns)
        right = [turn.success and turn.tool != ANSWER for turn in run.turns]
        spans = [span.arguments for span in bare.targets if right[span.index]]
        places = tuple(place for start, end in spans for place in range(start, end))
        return cls(shown.ids, bare.ids, len(encoder.prompt(domain, text, ()).ids), places)


@dataclass(frozen=True)
class _Turn:
    index: int
    state: str
    reasoning: str
    tool: str
    arguments: str


def _words(run: Run) -> list[tuple[str, str, str, str]]:
    return [(turn.state, turn.reasoning, turn.tool, turn.arguments) for turn in run.turns]


@dataclass(frozen=True)
class Batch:
    """Some pairs as tensors; padding lies on the right, where no token sees it."""

    pairs: Sequence[Pair]

    @cached_property
    def with_memory(self) -> torch.Tensor:
        """(runs, tokens)."""
        return _padded([pair.with_memory for pair in self.pairs])

    @cached_property
    def without(self) -> torch.Tensor:
        """(runs, tokens)."""
        return _padded([pair.without for pair in self.pairs])

    @cached_property
    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Run and position in `without` of every token."""
        found = [(k, place) for k, pair in enumerate(self.pairs) for place in range(len(pair.without))]
        return _index(found)

    @cached_property
    def rows_in_context(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The same tokens in `with_memory`."""
        found = [
            (k, place + pair.shift * (place >= pair.n_before))
            for k, pair in enumerate(self.pairs)
            for place in range(len(pair.without))
        ]
        return _index(found)

    @cached_property
    def decisions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Run and position in `without` of the argument tokens."""
        return _index([(k, place) for k, pair in enumerate(self.pairs) for place in pair.decided])

    @torch.no_grad()
    def predicted(self, model: Any, *, in_context: bool) -> torch.Tensor:
        """Log-probabilities (decisions, vocabulary) where the argument tokens are chosen."""
        row, place = self.decisions
        shift = torch.tensor([pair.shift for pair in self.pairs])[row] if in_context else 0
        logits = logits_of(model, self.with_memory if in_context else self.without)
        return logits[row, place + shift - 1].log_softmax(-1)

    @property
    def answers(self) -> torch.Tensor:
        """(decisions,): the right tokens."""
        return self.without[self.decisions]


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def _index(pairs: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.tensor(pairs, dtype=torch.long).view(-1, 2)
    return found[:, 0], found[:, 1]
