"""What is audited, and what a finding is: a fault, the items that have it, why, and how to mend it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np

from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import MemoryConfig

_BLOCK = 1024
"""Items compared at once: bounds the memory that similarities take."""


@dataclass(frozen=True)
class Limits:
    """From when on something is a fault."""

    near: float = 0.95
    """Cosine of two items, of their keys and of their whole texts."""
    could_have: int = 20
    """Runs that were shown something else, after which an item that none was shown counts as never retrieved."""
    stale_days: int = 90
    """Days without support, or being shown, while its domain went on."""
    min_harmful: int = 2
    """Failed tasks before harm is looked at."""
    overlap: float = 0.8
    """Share of common words from which on two pieces of advice are about the same."""


class Run(NamedTuple):
    """What a log says of memory: who was shown what."""

    day: date
    domain: str
    scope: str
    task_id: str
    shown: tuple[str, ...]


class Finding(NamedTuple):
    """One fault."""

    fault: str
    items: tuple[str, ...]
    """Ids, the one to act on first."""
    domain: str
    says: str
    remedy: str


@dataclass(frozen=True)
class Subject:
    """What is audited."""

    bank: Bank
    runs: Mapping[str, Run]
    """By uid; an edit by a person counts as a run that was shown nothing."""
    embed: EmbedKeys
    config: MemoryConfig
    limits: Limits = Limits()

    @cached_property
    def near_pairs(self) -> list[tuple[MemoryItem, MemoryItem]]:
        """Active items of one domain and place whose keys and whole texts are near, in canonical order."""
        shelves: dict[tuple[str, str], list[MemoryItem]] = defaultdict(list)
        for item in self.bank.items:
            shelves[item.domain, item.place].append(item)
        near = [pair for items in shelves.values() for pair in self._near(items, [i.key_text for i in items])]
        texts = sorted({text_of(item) for pair in near for item in pair})
        vectors = dict(zip(texts, self.embed(texts), strict=True)) if texts else {}
        return [(a, b) for a, b in near if vectors[text_of(a)] @ vectors[text_of(b)] >= self.limits.near]

    def _near(self, items: list[MemoryItem], texts: list[str]) -> Iterator[tuple[MemoryItem, MemoryItem]]:
        if len(items) < 2:
            return
        vectors = self.embed(texts)
        for start in range(0, len(items), _BLOCK):
            rows, columns = np.nonzero(vectors[start : start + _BLOCK] @ vectors.T >= self.limits.near)
            yield from ((items[start + a], items[b]) for a, b in zip(rows, columns, strict=True) if start + a < b)

    @cached_property
    def became(self) -> dict[str, str]:
        """Every id that the bank knows -> the item that it is now: merged ones are another's."""
        items = (*self.bank.items, *self.bank.others)
        return {old: item.item_id for item in items for old in (*item.merged, item.item_id)}

    @cached_property
    def shown_in(self) -> dict[str, list[Run]]:
        """Item -> the runs that were shown it."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            for item_id in self.shown(run):
                found[item_id].append(run)
        return found

    def shown(self, run: Run) -> set[str]:
        """Items that a run was shown, as they are called now."""
        ids = {name.partition("@")[0] for name in run.shown}
        return {self.became[item_id] for item_id in ids if item_id in self.became}


def text_of(item: MemoryItem) -> str:
    """All that an agent reads of an item."""
    return f"{item.key_text} {item.content}"


def finding_of(fault: str, items: Iterable[MemoryItem], says: str, remedy: str = "") -> Finding:
    """A finding about items of one domain; the remedy is by default to retire the first one."""
    found = tuple(items)
    ids = tuple(item.item_id for item in found)
    return Finding(fault, ids, found[0].domain, says, remedy or f"synde memory retire {ids[0]}")


def named(item: MemoryItem) -> str:
    """What a person calls an item: its title, and its place where it has one."""
    return f"{item.title!r} ({item.scope})" if item.place else repr(item.title)


def weaker_first(a: MemoryItem, b: MemoryItem) -> tuple[MemoryItem, MemoryItem]:
    """The two, the one with fewer tasks behind it first."""
    first, second = sorted((a, b), key=lambda item: (len(item.task_ids), item.item_id))
    return first, second
