"""How tasks fared with an item shown, and without it. Pure. Tasks are counted, not runs: trials prove nothing more."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np

from synde_pipeline.memory.tags import HARMFUL, NEITHER, Codes, Ints, Mask, Tags, shown_id
from synde_pipeline.records import Delta


class Shown(NamedTuple):
    """An item as tags are counted for it."""

    ids: tuple[str, ...]
    """Its own id, and those of the items that were merged into it."""
    since: date | None = None
    """Tags before this day speak of what the item no longer says; None counts all."""
    version: str | None = None
    """Tags that name another version do not count; None counts all."""


class Fared(NamedTuple):
    """Tags of a domain, counted."""

    helpful: list[int]
    """By item, tasks that succeeded with it."""
    harmful: list[int]
    """By item, tasks that failed with it; a task can do both."""
    orphans: Counter[str]
    """Ids that no item has, with the tags that name them."""


def count(tags: Tags, heard: Mask, items: Sequence[Shown], codes: Codes) -> Fared:
    """Count tags.

    Args:
        tags: all that are known.
        heard: which of them come from sources that are listened to, (n,).
        items: whose tags are counted.
        codes: numbers of the strings in tags.
    """
    item_of = np.full(len(codes), -1, np.int32)
    for k, item in enumerate(items):
        for name in item.ids:
            if (code := codes.get(name)) >= 0:
                item_of[code] = k
    item = item_of[tags.target]
    lost = Counter({codes.names[code]: n for code, n in _counted(tags.target[item < 0])})
    counts = heard & (item >= 0) & (tags.verdict != NEITHER)
    counts[counts] &= _speaks_of(tags.where(counts), item[counts], items, codes)
    # Each (item, verdict, task) once: a task counts once however often it was tried.
    keys = np.sort((item[counts].astype(np.int64) * 2 + tags.verdict[counts]) * len(codes) + tags.task[counts])
    keys = keys[np.diff(keys, prepend=-1) > 0]
    n = np.bincount(keys // max(len(codes), 1), minlength=2 * len(items)).reshape(-1, 2)
    return Fared(n[:, 1 - HARMFUL].tolist(), n[:, HARMFUL].tolist(), lost)


def _counted(numbers: Ints) -> Iterable[tuple[int, int]]:
    return zip(*(column.tolist() for column in np.unique(numbers, return_counts=True)), strict=True)


def _speaks_of(tags: Tags, item: Ints, items: Sequence[Shown], codes: Codes) -> Mask:
    """Whether each tag speaks of what its item says now."""
    since = np.array([shown.since.toordinal() if shown.since else 0 for shown in items], np.int32)
    version = np.array([-1 if shown.version is None else codes.number(shown.version) for shown in items], np.int32)
    if not items:
        return np.zeros(len(tags), np.bool_)
    is_same = (tags.version < 0) | (version[item] < 0) | (tags.version == version[item])
    return is_same & (tags.effective_day >= since[item])


@dataclass
class Runs:
    """Runs of one section with an outcome, to compare an item with: those that were not shown it."""

    n_runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(task, outcome) -> runs."""
    shown: dict[str, set[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(set))
    """Item id -> (task, outcome, uid) of the runs that were shown it."""

    @classmethod
    def of(cls, evidence: Iterable[Delta]) -> "Runs":
        """Read EVIDENCE rows."""
        runs = cls()
        for row in evidence:
            if row.outcome in ("success", "failure"):
                runs.n_runs[row.task_id, row.outcome] += 1
                for target in row.shown:
                    runs.shown[shown_id(target)].add((row.task_id, row.outcome, row.trace_uid))
        return runs

    def without(self, ids: Iterable[str]) -> tuple[int, int]:
        """Tasks that succeeded, and that failed, in a run that was shown none of these."""
        if not self.n_runs:
            return 0, 0
        shown = set().union(*(self.shown.get(name, ()) for name in ids))
        left = self.n_runs - Counter((task, outcome) for task, outcome, _ in shown)
        outcomes = Counter(outcome for _, outcome in left)
        return outcomes["success"], outcomes["failure"]
