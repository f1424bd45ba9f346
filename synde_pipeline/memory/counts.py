"""How tasks fared with an item shown, and without it. Pure. Tasks are counted, not runs: trials prove nothing more."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.tags import HARMFUL, HELPFUL, NEITHER, Codes, Ints, Mask, Tags, shown_id
from synde_pipeline.records import Delta

_N_VERDICTS = 3


class Shown(NamedTuple):
    """An item as tags are counted for it."""

    ids: tuple[str, ...]
    """Its own id, and those of the items that were merged into it."""
    since: date | None = None
    """Tags before this day speak of what the item no longer says; None counts all."""
    version: str | None = None
    """Tags that name another version do not count; None counts all."""
    tool: str = ""
    """A run that never called it says nothing; empty counts all."""


class Fared(NamedTuple):
    """Tags of a domain, counted."""

    helpful: list[int]
    """By item, tasks that succeeded with it."""
    harmful: list[int]
    """By item, tasks that failed with it; a task can do both."""
    neutral: list[int]
    """By item, tasks with a run that says nothing of it."""
    orphans: Counter[str]
    """Ids that no item has, with the tags that name them."""


class Calls(NamedTuple):
    """Which tools runs called; strings are numbers of `Codes`."""

    uids: Ints
    """Runs of which it is known, sorted."""
    pairs: NDArray[np.int64]
    """Run and tool, as `pair`, sorted."""

    @classmethod
    def of(cls, paths: Iterable[tuple[str, Iterable[str]]], codes: Codes) -> "Calls":
        """Read uids and their paths."""
        named = [(codes.number(uid), [codes.number(tool) for tool in path]) for uid, path in paths]
        pairs = np.array([(uid, tool) for uid, tools in named for tool in tools], np.int64).reshape(-1, 2)
        uids = np.array([uid for uid, _ in named], np.int32)
        return cls(np.unique(uids), np.unique(pair(pairs[:, 0], pairs[:, 1])))

    def lack(self, uids: Ints, tools: Ints) -> Mask:
        """Whether a run is known and did not call a tool; -1 is no tool."""
        return (tools >= 0) & np.isin(uids, self.uids) & ~np.isin(pair(uids, tools), self.pairs)


def pair(left: NDArray[np.integer], right: NDArray[np.integer]) -> NDArray[np.int64]:
    """Two numbers as one."""
    return (left.astype(np.int64) << 32) | right


def count(tags: Tags, heard: Mask, items: Sequence[Shown], codes: Codes, calls: Calls) -> Fared:
    """Count tags.

    Args:
        tags: all that are known.
        heard: which of them come from sources that are listened to, (n,).
        items: whose tags are counted.
        codes: numbers of the strings in tags.
        calls: of the runs that the tags are about.
    """
    item_of = np.full(len(codes), -1, np.int32)
    for k, item in enumerate(items):
        for name in item.ids:
            if (code := codes.get(name)) >= 0:
                item_of[code] = k
    item = item_of[tags.target]
    lost = Counter({codes.names[code]: n for code, n in _counted(tags.target[item < 0])})
    counts = heard & (item >= 0)
    counts[counts] &= _speaks_of(tags.where(counts), item[counts], items, codes)
    item, verdict = item[counts], tags.verdict[counts]
    if len(calls.uids):
        tool = np.array([codes.number(shown.tool) if shown.tool else -1 for shown in items] or [-1], np.int32)
        verdict = np.where(calls.lack(tags.uid[counts], tool[item]), NEITHER, verdict)
    # Each (item, verdict, task) once: a task counts once however often it was tried.
    keys = np.sort((item.astype(np.int64) * _N_VERDICTS + verdict) * len(codes) + tags.task[counts])
    keys = keys[np.diff(keys, prepend=-1) > 0]
    n = np.bincount(keys // max(len(codes), 1), minlength=_N_VERDICTS * len(items)).reshape(-1, _N_VERDICTS)
    return Fared(n[:, HELPFUL].tolist(), n[:, HARMFUL].tolist(), n[:, NEITHER].tolist(), lost)


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

    n_runs: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))
    """Tool that they called, empty for all -> (task, outcome) -> runs."""
    shown: dict[str, set[tuple[str, str, str, tuple[str, ...]]]] = field(default_factory=lambda: defaultdict(set))
    """Item id -> (task, outcome, uid, path) of the runs that were shown it."""

    @classmethod
    def of(cls, evidence: Iterable[Delta]) -> "Runs":
        """Read EVIDENCE rows."""
        runs = cls()
        for row in evidence:
            if row.outcome in ("success", "failure"):
                for tool in {"", *row.path}:
                    runs.n_runs[tool][row.task_id, row.outcome] += 1
                for target in row.shown:
                    runs.shown[shown_id(target)].add((row.task_id, row.outcome, row.trace_uid, row.path))
        return runs

    def without(self, ids: Iterable[str], tool: str = "") -> tuple[int, int]:
        """Tasks that succeeded, and that failed, in a run that called a tool and was shown none of these."""
        if tool not in self.n_runs:
            return 0, 0
        shown = set().union(*(self.shown.get(name, ()) for name in ids))
        counted = ((task, outcome) for task, outcome, _, path in shown if not tool or tool in path)
        left = self.n_runs[tool] - Counter(counted)
        outcomes = Counter(outcome for _, outcome in left)
        return outcomes["success"], outcomes["failure"]
