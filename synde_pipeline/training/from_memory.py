"""Trajectories written from memory alone, no log: what the bank knows of a place, as if an agent had acted on it.

Training on them moves memory into weights ("sleep"). Who writes them is a `Scribe`: the one here knows nothing but the
items; a laboratory hands in one that knows the general shape of its world's tasks. Token sequences are `shards`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from synde_pipeline.memory.curate import Bank
from synde_pipeline.records import MemoryItem, place_of
from synde_pipeline.training.examples import ExampleTurn
from synde_pipeline.training.weights import Signal


@dataclass(frozen=True)
class Written:
    """One trajectory that nobody lived."""

    task: str
    turns: tuple[ExampleTurn, ...]
    """Their weights follow from their signals, by the settings."""


class Scribe(Protocol):
    """Writes trajectories from the items about one place; the same items give the same trajectories."""

    @property
    def name(self) -> str:
        """What the lineage of a shard calls it."""
        ...

    def __call__(self, domain: str, scope: str, items: Sequence[MemoryItem]) -> list[Written]:
        """Write what these items say; nothing where they say nothing that can be acted on."""
        ...


def turn(index: int, state: str, action: tuple[str, str], signal: Signal, *, reasoning: str = "") -> ExampleTurn:
    """A written turn; action is tool and arguments."""
    return ExampleTurn(index, state, reasoning, *action, signal, 0.0)


@dataclass(frozen=True)
class LessonScribe:
    """One trajectory a scope: a turn for each lesson, to do what works there and not what fails."""

    name: str = "lessons"

    def __call__(self, domain: str, scope: str, items: Sequence[MemoryItem]) -> list[Written]:
        """Strategies are imitated and pitfalls avoided, in the order of their titles; other kinds say no action."""
        signals: dict[str, Signal] = {"strategy": "imitate", "pitfall": "avoid"}
        told = sorted((item for item in items if item.kind in signals), key=lambda item: (item.title, item.item_id))
        turns = [turn(k, "", (item.title, item.content), signals[item.kind]) for k, item in enumerate(told)]
        return [Written(f"what holds {f'on {place_of(scope)}' if place_of(scope) else 'everywhere'}", tuple(turns))][
            : len(turns)
        ]


LESSONS = LessonScribe()


def items_at(bank: Bank, domain: str, scope: str) -> list[MemoryItem]:
    """What a bank knows of one place; of the whole domain where the scope names none."""
    mine = [item for item in bank.items if item.domain == domain]
    return [item for item in mine if (item.scope == scope if place_of(scope) else not item.place)]
