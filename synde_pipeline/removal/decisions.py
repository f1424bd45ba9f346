"""Decisions on the champion, made again: the gate's from its reports, a person's as they were, where they still can be.

A person's decision is made again once its own cycle and the cycle of the gate's verdict before it are judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from synde_pipeline.errors import LineageError
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.overrule import Move, carry_out
from synde_pipeline.models.registry import (
    FILE,
    Decision,
    champion,
    domain_of,
    own_adapter,
    promote,
    record,
    reject,
)
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle, cycles

TAKEN_OUT = "taken out by a person"


@dataclass
class Decisions:
    """The decisions of an old warehouse, for one in which history is made again."""

    old: Warehouse
    new: Warehouse
    renamed: dict[str, str]
    """Cycle of the old warehouse -> of the new one; grows while history is made."""
    lost: list[str] = field(default_factory=list)
    """Persons' decisions that cannot be made again."""

    def __post_init__(self) -> None:
        self._history = champion(self.old).history
        self._waiting = list(self._persons())

    def _persons(self) -> Iterator[tuple[str, Decision]]:
        """A person's decisions, each with the cycle after whose judgement it is made again."""
        order = {cycle.key: cycle.sequence for cycle in cycles(self.old)}
        judged: str | None = None
        for item in self._history:
            if item.by == "gate":
                judged = item.cycle
            else:
                yield max(filter(None, [judged, item.cycle]), key=lambda key: order.get(key, 0)), item

    def rewind(self) -> None:
        """The champion as the decisions about cycles that are still there make it."""
        (self.new.root / FILE).unlink(missing_ok=True)
        known = {cycle.key: cycle for cycle in cycles(self.new)}
        for item in self._history:
            model = self.new.header(MERGED, item.cycle)
            if item.by == "gate":
                if item.cycle in known and model is not None and model.content_hash == item.model:
                    (promote if item.accepted else reject)(self.new, known[item.cycle], model, item.reason, item.basis)
            elif self._waiting and self._waiting[0][1] is item and self._waiting[0][0] in known:
                self._repeat(self._waiting.pop(0)[1])

    def after(self, cycle: Cycle) -> None:
        """Make again what a person decided once this cycle was judged."""
        ready = [item for anchor, item in self._waiting if self.renamed.get(anchor) == cycle.key]
        self._waiting = [(anchor, item) for anchor, item in self._waiting if self.renamed.get(anchor) != cycle.key]
        for item in ready:
            self._repeat(item)

    def finish(self) -> None:
        """Tell which decisions found no cycle to be made after."""
        for _, item in self._waiting:
            self._lose(item)

    def take_out(self, cycle: Cycle, model: Header) -> None:
        """Decide that a cycle's adapters are not used, as a person wants."""
        now = champion(self.new)
        if now.has_decided(cycle.key, model.content_hash):
            return
        decision = Decision(
            cycle=cycle.key,
            accepted=False,
            reason=TAKEN_OUT,
            model=model.content_hash,
            adapter=own_adapter(cycle, model),
            previous=now.hash,
            by="person",
        )
        record(self.new, now, now.domains, decision)

    def _repeat(self, item: Decision) -> None:
        if item.reason == TAKEN_OUT:
            self._take_out_again(item)
            return
        key, now = self.renamed.get(item.cycle), champion(self.new)
        target = self.new.header(MERGED, key) if item.accepted and key else None
        if item.accepted and target is None:
            self._lose(item)
            return
        word, _, rest = item.reason.removesuffix(" (to the base alone)").partition(" by a person")
        domain = domain_of(item.cycle)
        move = Move(
            domain, "promoted" if word == "promoted" else "rolled back", now.hash, now.domains.get(domain), target
        )
        try:
            carry_out(self.new, move, rest.removeprefix(": "))
        except LineageError:
            self._lose(item)

    def _take_out_again(self, item: Decision) -> None:
        """Only for cycles that are as they were: the others are taken out when they are judged."""
        model = self.new.header(MERGED, item.cycle)
        known = {cycle.key: cycle for cycle in cycles(self.new)}
        if item.cycle in known and model is not None and model.content_hash == item.model:
            self.take_out(known[item.cycle], model)

    def _lose(self, item: Decision) -> None:
        if item.reason != TAKEN_OUT:
            self.lost.append(f"{item.reason}: {item.cycle}")
