"""Lessons of one scope that advise the opposite: the newer one takes the older one's place. Pure.

An older lesson is superseded when nobody has said it since its opposite was first said, and `min_tasks` distinct tasks
say the opposite. Says somebody the older one again, both stand, and the audit names them as a contradiction. A person's
lesson is never superseded: people do that themselves.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import permutations

from synde_pipeline.records import MemoryItem

AGAINST = frozenset(["not", "never", "don't", "dont", "avoid", "without", "cannot", "can't", "no", "skip", "refuse"])
_FOR = frozenset(["do", "always", "must", "should", "can"])


@lru_cache(maxsize=2**16)
def reduced(text: str) -> tuple[frozenset[str], bool]:
    """The words that say what a text is about, and whether it is against it."""
    words = _words(text)
    return frozenset(words) - AGAINST - _FOR, sum(word in AGAINST for word in words) % 2 == 1


@lru_cache(maxsize=2**16)
def _topic(text: str) -> tuple[str, ...]:
    """The same words in their order: "never A before B" and "B before A" are one advice."""
    return tuple(word for word in _words(text) if word not in AGAINST and word not in _FOR)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold())


def superseded(items: Sequence[MemoryItem], said_on: Mapping[str, date], min_tasks: int) -> Iterator[MemoryItem]:
    """The older lessons of opposite ones, retired and with their successors.

    Args:
        items: drafts of one domain and scope.
        said_on: effective day of each trajectory behind them.
        min_tasks: distinct tasks that must say the newer one.
    """
    groups: dict[tuple[str, ...], list[MemoryItem]] = defaultdict(list)
    for item in items:
        if item.status == "active":
            groups[_topic(item.title)].append(item)
    for group in groups.values():
        found: dict[str, tuple[date, MemoryItem, MemoryItem]] = {}
        for old, new in permutations(group, 2):
            if reduced(old.title)[1] == reduced(new.title)[1] or len(new.task_ids) < min_tasks or _is_persons(old):
                continue
            since = min(_days(new, said_on))
            if max(_days(old, said_on)) < since:
                found[old.item_id] = max(found.get(old.item_id, (date.min, old, new)), (since, old, new), key=_newest)
        for since, old, new in found.values():
            reason = f"superseded with {new.item_id}, its opposite: {len(new.task_ids)} tasks say so since {since}"
            yield old.model_copy(update={"status": "retired", "reason": reason, "successor": new.item_id})


def _newest(found: tuple[date, MemoryItem, MemoryItem]) -> tuple[date, str]:
    return found[0], found[2].item_id


def _is_persons(item: MemoryItem) -> bool:
    return any(not support.task_id for support in item.supports)


def _days(item: MemoryItem, said_on: Mapping[str, date]) -> Iterable[date]:
    return [said_on[support.trace_uid] for support in item.supports]
