"""The fold of one domain: units are drafted, tags counted, and each item told where it stands. Pure."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, partial
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from synde_pipeline.memory.counts import Calls, Runs, Shown, count
from synde_pipeline.memory.drafts import drafts
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.opposites import superseded
from synde_pipeline.memory.rows import RUNS, Domain, Edit, Row, Unit, seen
from synde_pipeline.memory.sources import distrust, listening, source_of
from synde_pipeline.memory.standing import (
    NO_RULING,
    Ranked,
    Ruling,
    Standing,
    backing,
    beyond,
    n_tokens,
    rule,
    standing,
)
from synde_pipeline.memory.tags import Codes, Mask, Tags, distinct
from synde_pipeline.memory.trials import NOBODY_ASKED, Advice, with_advice
from synde_pipeline.records import MemoryItem, content_hash
from synde_pipeline.settings import MemoryConfig

_KEPT = 2**16
_ENDS = ("retire", "quarantine")


class View(NamedTuple):
    """How much of a ledger is seen."""

    as_of: date
    without_task: str | None = None
    quarantined: frozenset[str] = frozenset()
    """Source systems that a person shut out."""


class Folded(NamedTuple):
    """A domain as of a day."""

    items: tuple[MemoryItem, ...]
    """Of all standings, by id."""
    digests: tuple[str, ...]
    """Content hash of each."""
    ids: frozenset[str]
    """All ids that mean something, those of merged items included."""
    n_deltas: int
    """Rows and tags that were seen."""
    orphans: Counter[str]


NOTHING = Folded((), (), frozenset(), 0, Counter())


@dataclass
class Tools:
    """What folding takes beside rows; the memory of earlier answers changes how long it takes, not what it says."""

    config: MemoryConfig
    embed: EmbedKeys
    advice: Advice = NOBODY_ASKED
    drafted: dict[Any, list[MemoryItem]] = field(default_factory=dict, repr=False)
    """Domain, unit and ids of its rows -> drafts."""
    latest: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)
    """What was asked for -> its inputs and the answer, the last time."""

    def again(self, name: str, inputs: Any, make: Callable[[], Any]) -> Any:
        """The answer of the last time, where the inputs are equal."""
        known = self.latest.get(name)
        if known is None or known[0] != inputs:
            known = self.latest[name] = inputs, make()
        return known[1]


class _Worded(NamedTuple):
    """A draft in its final words."""

    item: MemoryItem
    ruling: Ruling
    n_tasks: int
    tokens: int
    shown: Shown


def fold_domain(domain: Domain, ledger: Ledger, view: View, tools: Tools) -> Folded:
    """Fold the rows of one domain that a view shows."""
    known = {unit: seen(rows, view.as_of, view.without_task) for unit, rows in domain.units.items()}
    if tools.advice.lessons:
        known = with_advice(known, tools.advice, listening(view.quarantined, tools.config))
    drafted = {draft.item_id: draft for draft in _drafted(known, view, tools)}
    ids = frozenset(name for draft in drafted.values() for name in (draft.item_id, *draft.merged))
    edits = _Edits(ledger, view, tools, ids)
    items = [_worded(drafted[name], edits.of(drafted[name]), tools) for name in sorted(drafted)]
    tags, codes = _tags(domain, ledger, view), ledger.codes
    calls = Calls.of(_paths(known) if len(tags) else (), codes)
    fared = count(tags, _heard(tags, codes, view, tools.config), [item.shown for item in items], codes, calls)
    with_item = list(zip(fared.helpful, fared.harmful, strict=True))
    stands = _standings(items, with_item, _Runs(known, view, tools.config), tools.config)
    told = zip(fared.helpful, fared.harmful, fared.neutral, strict=True)
    done = [_final(*about, tools) for about in zip(items, told, stands, strict=True)]
    return Folded(
        items=tuple(item for item, _ in done),
        digests=tuple(digest for _, digest in done),
        ids=ids,
        n_deltas=sum(map(len, known.values())) + len(tags),
        orphans=fared.orphans + edits.orphans,
    )


def _drafted(known: dict[Unit, Sequence[Row]], view: View, tools: Tools) -> Iterator[MemoryItem]:
    """The drafts of all units; of opposite ones, those that are superseded come last."""
    by_scope: dict[str, dict[Unit, list[MemoryItem]]] = defaultdict(dict)
    for unit, rows in known.items():
        drafted = _drafts(unit, rows, view, tools)
        yield from drafted
        if drafted and not unit.place and unit.kind != RUNS:
            by_scope[unit.scope][unit] = drafted
    for scope, units in by_scope.items():
        found = [*units.values()]
        make = partial(_opposites, found, [known[unit] for unit in units], tools.config)
        yield from tools.again(f"opposites {found[0][0].domain} {scope}", found, make)


def _opposites(
    found: Sequence[list[MemoryItem]], rows: Sequence[Sequence[Row]], config: MemoryConfig
) -> list[MemoryItem]:
    said_on = {row.delta.trace_uid: row.effective_day for row in chain.from_iterable(rows)}
    return [*superseded([*chain.from_iterable(found)], said_on, config.min_tasks)]


def _drafts(unit: Unit, rows: Sequence[Row], view: View, tools: Tools) -> list[MemoryItem]:
    if not rows:
        return []
    key = (rows[0].delta.domain, unit, view.quarantined, tuple(row.delta_id for row in rows))
    if key not in tools.drafted:
        if len(tools.drafted) >= _KEPT:
            tools.drafted.pop(next(iter(tools.drafted)))
        why_not = listening(view.quarantined, tools.config)
        tools.drafted[key] = drafts(unit, [row.delta for row in rows], why_not, tools.config, tools.embed)
    return tools.drafted[key]


class _Edits:
    """Edits of a domain's items that a view shows and that are listened to."""

    def __init__(self, ledger: Ledger, view: View, tools: Tools, ids: frozenset[str]) -> None:
        self.orphans: Counter[str] = Counter()
        """Successors that no item is."""
        self._all, self._view, self._tools, self._ids = ledger.edits_of, view, tools, ids
        self._distrust = lru_cache(maxsize=None)(lambda source: distrust(source, view.quarantined, tools.config))

    def of(self, item: MemoryItem) -> tuple[Edit, ...]:
        """The edits of an item and of those merged into it, in the order in which they count."""
        found = [self._all[name] for name in (item.item_id, *item.merged) if name in self._all]
        if not found:
            return ()
        known = tuple(edits[: bisect_right(edits, self._view.as_of, key=itemgetter(0))] for edits in found)
        inputs = (known, self._view.without_task, self._view.quarantined)
        heard, succeeded = self._tools.again(f"edits {item.item_id}", inputs, lambda: self._heard(known))
        lost = [edit.value for edit in succeeded if edit.value not in self._ids]
        self.orphans.update(lost)
        return tuple(edit for edit in heard if edit.op != "SUPERSEDE" or edit.value not in lost) if lost else heard

    def _heard(self, known: Sequence[Sequence[Edit]]) -> tuple[tuple[Edit, ...], list[Edit]]:
        """The edits that are listened to, and those among them that name a successor."""
        edits = [
            edit for edit in chain.from_iterable(known) if not edit.task_id or edit.task_id != self._view.without_task
        ]
        heard = sorted(edit for edit in edits if edit.is_human or not self._distrust(source_of(edit.trace_uid)))
        return tuple(heard), [edit for edit in heard if edit.op == "SUPERSEDE" and edit.value not in _ENDS]


def _worded(draft: MemoryItem, edits: tuple[Edit, ...], tools: Tools) -> _Worded:
    def make() -> _Worded:
        ruling = rule(edits, tools.config.min_tasks) if edits else NO_RULING
        item = draft.model_copy(update=ruling.texts) if ruling.texts else draft
        # At a place the words are the option itself: what another one did says nothing of this one.
        version = item.version if item.place else None
        shown = Shown((item.item_id, *item.merged), ruling.since, version, item.tool)
        return _Worded(item, ruling, backing(item, tools.config.min_tasks), n_tokens(item), shown)

    return tools.again(f"words {draft.item_id}", (draft, edits), make)


def _tags(domain: Domain, ledger: Ledger, view: View) -> Tags:
    """The tags that are seen."""
    known = domain.tags.effective_day <= view.as_of.toordinal()
    return domain.tags.where(known & (domain.tags.task != ledger.codes.get(view.without_task)))


def _heard(tags: Tags, codes: Codes, view: View, config: MemoryConfig) -> Mask:
    """Which tags come from sources that are listened to, (n,)."""
    shut_out = [code for code in distinct(tags.source) if distrust(codes.names[code], view.quarantined, config)]
    return ~np.isin(tags.source, shut_out)


def _paths(known: dict[Unit, Sequence[Row]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Uids of the runs that are seen, and the tools that each called."""
    for unit, rows in known.items():
        if unit.place or unit.kind == RUNS:
            yield from ((row.delta.trace_uid, row.delta.path) for row in rows if row.delta.op == "EVIDENCE")


class _Runs:
    """Runs of each section that are seen and listened to, read where they are asked for."""

    def __init__(self, known: dict[Unit, Sequence[Row]], view: View, config: MemoryConfig) -> None:
        self._known, self._why_not = known, listening(view.quarantined, config)
        self._read: dict[Unit, Runs] = {}

    def without(self, item: MemoryItem) -> tuple[int, int]:
        """Tasks that succeeded, and that failed, without an item, where it could have been shown."""
        unit = Unit(item.scope, "", "") if item.place else Unit("", RUNS, "")
        if unit not in self._read:
            rows = (row.delta for row in self._known.get(unit, ()))
            self._read[unit] = Runs.of(row for row in rows if row.op == "EVIDENCE" and not self._why_not(row))
        return self._read[unit].without((item.item_id, *item.merged), item.tool)


def _standings(
    items: Sequence[_Worded], with_item: Sequence[tuple[int, int]], runs: _Runs, config: MemoryConfig
) -> list[Standing]:
    """Where each item stands, the token budget included."""
    stands = [
        standing(item.item, item.n_tasks, item.ruling, fared, partial(runs.without, item.item), config)
        for item, fared in zip(items, with_item, strict=True)
    ]
    ranked = [
        Ranked(not item.ruling.is_pinned, harmful - helpful, -item.n_tasks, item.item.item_id, item.tokens)
        for item, (helpful, harmful), stand in zip(items, with_item, stands, strict=True)
        if stand.status == "active"
    ]
    out = beyond(ranked, config.max_tokens)
    archived = Standing("archived", f"better ranked items use up the domain's {config.max_tokens} tokens")
    return [archived if item.item.item_id in out else stand for item, stand in zip(items, stands, strict=True)]


def _final(item: _Worded, fared: tuple[int, ...], stand: Standing, tools: Tools) -> tuple[MemoryItem, str]:
    """The item as it stands, and its digest."""

    def make() -> tuple[MemoryItem, str]:
        told = dict(zip(("helpful", "harmful", "neutral"), fared, strict=True))
        took_over = item.item.successor if item.ruling.ended in ("", *_ENDS) else item.ruling.ended
        told |= {"pinned": item.ruling.is_pinned, **stand._asdict()}
        told["successor"] = took_over if stand.status == "retired" else ""
        done = item.item.model_copy(update=told)
        return done, digest_of(done)

    return tools.again(f"item {item.item.item_id}", (item.item, item.ruling.is_pinned, fared, stand), make)


def digest_of(item: MemoryItem) -> str:
    """Content hash of one item."""
    return content_hash(item.model_dump(mode="json"))
