"""What a person decides about the champion, whatever the gate said: promoting a cycle, or going back to an earlier one.

A move is planned on the champion that the person saw, and carried out only while it is still that one (law 3).
"""

from dataclasses import dataclass
from typing import Any, Literal

from synde_pipeline.base_model import pinned
from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, fresh_merged
from synde_pipeline.models.registry import (
    Champion,
    Decision,
    Served,
    champion,
    check_current,
    domain_of,
    model_that_lies_there,
    own_adapter,
    record,
    served_of,
)
from synde_pipeline.models.serve_as import restore
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import find_cycle


@dataclass(frozen=True)
class Move:
    """A change of one domain's champion that a person wants."""

    domain: str
    word: Literal["promoted", "rolled back"]
    seen: str
    """`Champion.hash` that the person saw."""
    now: Served | None
    """What is served in the domain; None: the base alone."""
    target: Header | None
    """Header of the model that shall be served; None: the base alone."""

    @property
    def is_done(self) -> bool:
        """Whether it is served already."""
        return (self.target.content_hash if self.target else None) == (self.now.model if self.now else None)

    def for_json(self) -> dict[str, Any]:
        """The move as the command line prints it."""
        return {
            "domain": self.domain,
            "from": self.now.cycle if self.now else None,
            "to": self.target.key if self.target else None,
        }


def promotion(warehouse: Warehouse, key: str) -> Move:
    """Plan to make a cycle's model the champion of its domain.

    Raises:
        LineageError: there is no such cycle, or its model is missing or stale.
    """
    cycle, known = find_cycle(warehouse, key), champion(warehouse)
    model = fresh_merged(warehouse, cycle, pinned(warehouse).content_hash)
    return Move(cycle.domain, "promoted", known.hash, known.domains.get(cycle.domain), model)


def rollback(warehouse: Warehouse, domain: str | None = None, to: str | None = None) -> Move:
    """Plan to go back to an earlier champion, by default to the one before the present one.

    Before the first champion there was the base alone.

    Raises:
        InputError: it is not clear which domain is meant, nothing is served there, or `to` never was its champion.
        LineageError: the model of then does not lie there any more.
    """
    known = champion(warehouse)
    domain = domain or (domain_of(to) if to else _only_domain(known))
    if domain not in known.domains:
        raise InputError(f"nothing is served in domain {domain!r}", expected=" or ".join(known.domains) or "a champion")
    before = [item for item in known.history if item.accepted and item.cycle == to]
    if to is None:
        before = known.line(domain)[:-1]
    elif not before or domain_of(to) != domain:
        raise InputError(
            f"{to} never was the champion of {domain}",
            expected=f"one of {', '.join(sorted(_champions(known, domain)))}",
            remedy=f"`synde promote {to}` overrules the gate",
        )
    target = _judged(warehouse, before[-1]) if before else None
    return Move(domain, "rolled back", known.hash, known.domains[domain], target)


def _only_domain(known: Champion) -> str:
    if len(known.domains) != 1:
        raise InputError(
            f"{len(known.domains)} domains have a champion",
            expected=f"--domain, one of {', '.join(known.domains)}" if known.domains else "one, to go back from",
        )
    return next(iter(known.domains))


def _champions(known: Champion, domain: str) -> set[str]:
    return {item.cycle for item in known.history if item.accepted and domain_of(item.cycle) == domain}


def _judged(warehouse: Warehouse, decision: Decision) -> Header:
    """The model of an earlier decision, which must still be the one that lies there."""
    remedy = f"run cycle {decision.cycle} again, or go back to another one with --to"
    which = "was the champion"
    return model_that_lies_there(warehouse, MERGED, decision.cycle, decision.model, which=which, remedy=remedy)


def carry_out(warehouse: Warehouse, move: Move, reason: str) -> Champion:
    """Move the champion; call it under the training lease. A move that is done already changes nothing.

    From then on the adapters that the target holds count as accepted, and no others, so that later cycles stand on what
    is served. A model that `gc` collected is made again first.

    Raises:
        LineageError: the champion is not the one that the move was planned on, or the target cannot be served.
    """
    now = champion(warehouse)
    if now.hash != move.seen:
        raise LineageError(
            f"the champion is {now.hash[:12]} by now",
            expected=f"{move.seen[:12]}, which this was decided on",
            remedy="look at `synde champion` and decide again",
        )
    if move.is_done:
        return now
    said = f"{move.word} by a person{': ' if reason else ''}{reason}"
    domains = {domain: served for domain, served in now.domains.items() if domain != move.domain}
    if move.target is None:
        return record(warehouse, now, domains, _to_base(now, move, said))
    cycle = find_cycle(warehouse, move.target.key)
    own = own_adapter(cycle, move.target)
    check_current(warehouse, cycle, fresh_merged(warehouse, cycle, pinned(warehouse).content_hash))
    check_current(warehouse, cycle, move.target)
    served = served_of(move.target)
    _check_readable(warehouse, served)
    restore(warehouse, move.target)
    kept = {item.cycle for item in served.adapters}
    decision = Decision(
        cycle=cycle.key,
        accepted=True,
        reason=said,
        model=move.target.content_hash,
        adapter=own,
        previous=now.hash,
        by="person",
        withdrawn=tuple(item for key, item in now.accepted(cycle.domain).items() if key not in kept),
        restored=tuple(
            item for item in served.adapters if item.cycle != cycle.key and not now.verdict_on(item.cycle, item.adapter)
        ),
    )
    return record(warehouse, now, dict(sorted({**domains, move.domain: served}.items())), decision)


def _to_base(now: Champion, move: Move, said: str) -> Decision:
    """All that a domain serves is withdrawn, told as a verdict on its champion."""
    assert move.now is not None  # noqa: S101 - a move from nothing to nothing is done already
    held = now.accepted(move.domain)
    own = held.pop(move.now.cycle)
    return Decision(
        cycle=own.cycle,
        accepted=False,
        reason=f"{said} (to the base alone)",
        model=move.now.model,
        adapter=own.adapter,
        previous=now.hash,
        by="person",
        withdrawn=tuple(held.values()),
    )


def _check_readable(warehouse: Warehouse, served: Served) -> None:
    for item in served.adapters:
        header = warehouse.header(ADAPTERS, item.cycle)
        if header is None or header.content_hash != item.adapter or not warehouse.folder(ADAPTERS, item.cycle).is_dir():
            raise LineageError(
                f"{ADAPTERS}[{item.cycle}] is not {item.adapter[:12]}, which {served.cycle} holds",
                remedy=f"run cycle {item.cycle} again, or restore its adapters",
            )


def history_rows(known: Champion) -> list[dict[str, Any]]:
    """The decisions as flat rows, oldest first."""
    serving = {(served.cycle, served.model) for served in known.domains.values()}
    return [
        {
            "number": number,
            "cycle": item.cycle,
            "verdict": "accepted" if item.accepted else "rejected" if item.by == "gate" else "withdrawn",
            "by": item.by,
            "serves": item.accepted and (item.cycle, item.model) in serving,
            "withdrawn": [one.cycle for one in item.withdrawn],
            "restored": [one.cycle for one in item.restored],
            "model": item.model,
            "reason": item.reason,
        }
        for number, item in enumerate(known.history, 1)
    ]
