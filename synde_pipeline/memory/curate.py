"""The fold: a set of deltas -> the bank. Pure, and the same for every order in which the deltas arrived (laws 1, 2).

Everything that needs more than one trajectory is decided by the fold: what rows of one unit say in `drafts`, how tasks
fared with an item in `counts`, where an item stands in `standing`. Which rows are seen is in `ledger`; storing deltas
is in `store`, banks of days in `banks`.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import chain
from operator import itemgetter

import pyarrow as pa

from synde_pipeline.memory.domain import NOTHING, Folded, Tools, View, digest_of, fold_domain
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.rows import Domain
from synde_pipeline.memory.sources import SOURCE
from synde_pipeline.memory.trials import NOBODY_ASKED, Advice
from synde_pipeline.records import Delta, MemoryItem, content_hash
from synde_pipeline.settings import MemoryConfig

_KEPT = 256
"""Folded domains that are kept at hand."""


@dataclass(frozen=True)
class Bank:
    """The memory as of a day."""

    as_of: date
    items: tuple[MemoryItem, ...]
    """What agents may be shown: the active items, in canonical order."""
    n_deltas: int
    others: tuple[MemoryItem, ...] = ()
    """Candidates, archived, retired and quarantined items, in canonical order."""
    orphans: tuple[tuple[str, int], ...] = ()
    """Targets that no item has, with the rows that name them: kept in the ledger, without effect."""
    digests: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """Content hashes of items, then others, where they are known."""

    @cached_property
    def bank_hash(self) -> str:
        """Content hash: equal items of all standings, and equal orphans, in canonical order."""
        digests = self.digests or [digest_of(item) for item in chain(self.items, self.others)]
        return content_hash({"items": digests, "orphans": self.orphans})


def fold(
    deltas: Iterable[Delta], as_of: date, config: MemoryConfig, embed: EmbedKeys, *, without_task: str | None = None
) -> Bank:
    """Fold all deltas known as of a day into the bank.

    Leaving a task out is exact: its deltas are not there at all, so no text or count can stem from them (law 2).

    Args:
        deltas: any order, repeats allowed.
        as_of: deltas with a later effective day are not seen.
        config: support threshold and limits.
        embed: embeds tasks and keys, to find similar ones.
        without_task: task that the memory must know nothing of.
    """
    return Fold(Ledger.of(deltas), config, embed).bank(as_of, without_task)


class Fold:
    """A ledger that can be folded as of any day. What a question does not touch is taken from earlier answers."""

    def __init__(
        self,
        ledger: Ledger,
        config: MemoryConfig,
        embed: EmbedKeys,
        *,
        advice: Advice = NOBODY_ASKED,
        tools: Tools | None = None,
    ) -> None:
        self.ledger = ledger
        self._tools = tools or Tools(config, embed, advice)
        self._folded: dict[tuple[str, View], Folded] = {}

    def replaced(self, day: date, rows: Iterable[Delta] | pa.Table) -> "Fold":
        """The fold of a ledger with one day's rows replaced as a whole; keeps what that day does not touch."""
        return Fold(self.ledger.replaced(day, rows), self._tools.config, self._tools.embed, tools=self._tools)

    def bank(self, as_of: date, without_task: str | None = None) -> Bank:
        """The bank as of a day, of all domains, without a task."""
        parts = [self.domain(name, as_of, without_task) for name in self.ledger.domains]
        pairs = [pair for part in parts for pair in zip(part.items, part.digests, strict=True)]
        active = [pair for pair in pairs if pair[0].status == "active"]
        others = [pair for pair in pairs if pair[0].status != "active"]
        known = frozenset().union(*(part.ids for part in parts))
        n_edits, orphans = self._edits(View(as_of, without_task), known)
        return Bank(
            as_of=as_of,
            items=tuple(item for item, _ in active),
            n_deltas=sum(part.n_deltas for part in parts) + n_edits,
            others=tuple(item for item, _ in others),
            orphans=tuple(sorted(sum((part.orphans for part in parts), orphans).items())),
            digests=tuple(digest for _, digest in [*active, *others]),
        )

    def domain(self, name: str, as_of: date, without_task: str | None = None) -> Folded:
        """One domain as of a day, without a task; nothing where the ledger does not know it."""
        domain = self.ledger.domains.get(name)
        if domain is None:
            return NOTHING
        view = self._view(domain, as_of, without_task)
        if (name, view) not in self._folded:
            if len(self._folded) >= _KEPT:
                self._folded.pop(next(iter(self._folded)))
            self._folded[name, view] = fold_domain(domain, self.ledger, view, self._tools)
        return self._folded[name, view]

    def _view(self, domain: Domain, as_of: date, without_task: str | None) -> View:
        """The least view that shows the same of a domain: days and tasks that left nothing make no difference."""
        days = (domain.days, self.ledger.edit_days)
        last = max((known[at - 1] for known in days if (at := bisect_right(known, as_of))), default=date.min)
        is_known = without_task is not None and (
            without_task in domain.tasks
            or without_task in self.ledger.edit_tasks
            or bool((domain.tags.task == self.ledger.codes.get(without_task)).any())
        )
        return View(last, without_task if is_known else None, self.ledger.quarantined(last))

    def _edits(self, view: View, known: frozenset[str]) -> tuple[int, Counter[str]]:
        """How many edits are seen, and those of items that are not there."""
        n_edits, orphans = 0, Counter[str]()
        for target, edits in self.ledger.edits_of.items():
            n = bisect_right(edits, view.as_of, key=itemgetter(0))
            if view.without_task is not None:
                n -= sum(edit.task_id == view.without_task for edit in edits[:n])
            n_edits += n
            if n and target not in known and not target.startswith(SOURCE):
                orphans[target] += n
        return n_edits, orphans
