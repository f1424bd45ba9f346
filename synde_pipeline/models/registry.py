"""The champion: what serving uses, and every decision that led there. One small file, replaced atomically.

It only records: whether a model passes is the gate's to say, in `evaluation`, and what a person makes of that is in
`overrule`. Fail-closed (law 11): whatever cannot be
read or verified leaves the champion as it is. No wall time is kept, so equal histories are equal bytes.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synde_pipeline.errors import LineageError
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Header, Warehouse, write_atomically
from synde_pipeline.training.cycles import Cycle

FILE = "champion.json"

Basis = Literal["", "improvement", "non-inferiority", "nothing shown"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Accepted(_Record):
    """An adapter, or a cycle's bank of adapters, that the champion holds."""

    cycle: str
    adapter: str
    """Content hash of `adapters[cycle]` when it was accepted."""


class Served(_Record):
    """The champion of one domain."""

    kind: Literal["bank", "merged", "adapter"]
    """`bank`: unmerged adapters behind a router; `merged`: one model in `merged_models[cycle]`; `adapter`: one exact
    adapter there, beside the base."""
    cycle: str
    """The cycle whose model passed last."""
    model: str
    """Content hash of `merged_models[cycle]`."""
    adapters: tuple[Accepted, ...]
    """In the order of their cycles."""


class Decision(_Record):
    """One verdict on one cycle's model: accepted, and served from then on, or not."""

    cycle: str
    accepted: bool
    reason: str
    model: str
    """Content hash of the model that was judged."""
    adapter: str
    """Content hash of the cycle's own adapter in it."""
    previous: str
    """`Champion.hash` before the decision."""
    by: Literal["gate", "person"] = "gate"
    basis: Basis = ""
    """What the gate's comparison showed; empty where there was none. It says what the next one may spend."""
    withdrawn: tuple[Accepted, ...] = ()
    """Other cycles' adapters that count as not accepted from then on: a person went back behind them."""
    restored: tuple[Accepted, ...] = ()
    """Other cycles' adapters that count as accepted again."""

    def verdicts(self) -> dict[str, tuple[str, bool]]:
        """Cycle -> its adapter, and whether it counts as accepted from then on."""
        found = {item.cycle: (item.adapter, False) for item in self.withdrawn}
        found |= {item.cycle: (item.adapter, True) for item in self.restored}
        return {**found, self.cycle: (self.adapter, self.accepted)}


class Champion(_Record):
    """What is served in each domain, and how it came to be."""

    domains: dict[str, Served] = {}
    history: tuple[Decision, ...] = ()
    """In the order decided; only ever appended to."""

    @property
    def hash(self) -> str:
        """Content hash of what is served; the history is no part of it."""
        return content_hash({domain: served.model_dump() for domain, served in self.domains.items()})

    def served_hash(self, domain: str) -> str:
        """Content hash of what one domain serves: what a comparison with its champion holds for."""
        return served_hash(self.domains.get(domain))

    def verdict_on(self, cycle: str, adapter: str) -> bool | None:
        """Whether a cycle's adapter was accepted; None while undecided, or when another adapter of it was judged."""
        found = (item.verdicts()[cycle] for item in reversed(self.history) if cycle in item.verdicts())
        judged, accepted = next(found, (None, None))
        return accepted if judged == adapter else None

    def accepted(self, domain: str) -> dict[str, Accepted]:
        """The adapters of a domain that count as accepted, by cycle."""
        found: dict[str, Accepted] = {}
        for item in self.history:
            for cycle, (adapter, accepted) in item.verdicts().items():
                found.pop(cycle, None)
                if accepted and domain_of(cycle) == domain:
                    found[cycle] = Accepted(cycle=cycle, adapter=adapter)
        return dict(sorted(found.items()))

    def rejected(self, cycle: str, adapter: str) -> bool:
        """Whether the gate turned a cycle's adapter down, and nobody has overruled it."""
        latest = self._latest(cycle)
        return latest is not None and latest.adapter == adapter and latest.by == "gate" and not latest.accepted

    def has_decided(self, cycle: str, model: str) -> bool:
        """Whether the last word on a cycle was about this very model."""
        latest = self._latest(cycle)
        return latest is not None and latest.model == model

    def when_decided(self, cycle: str, model: str) -> "Champion":
        """As it was when a cycle's model was decided on, with the gate's later verdicts; unchanged while it is not.

        So a person's later change of mind is no reason to train or merge again what was decided before it.
        """
        if not self.has_decided(cycle, model):
            return self
        own = [k for k, item in enumerate(self.history) if item.cycle == cycle and (item.accepted or item.by == "gate")]
        last = own[-1] if own else -1
        kept = [item for k, item in enumerate(self.history) if k <= last or item.by == "gate"]
        return self.model_copy(update={"history": tuple(kept)})

    def line(self, domain: str) -> list[Decision]:
        """The decisions that lead to a domain's champion, one a champion; going back takes off what came after."""
        found: list[Decision] = []
        for item in self.history:
            if domain_of(item.cycle) != domain:
                continue
            if item.accepted:
                known = [k for k, old in enumerate(found) if (old.cycle, old.model) == (item.cycle, item.model)]
                found = [*found[: known[0] if known else None], item]
            elif item.by == "person":
                found = []
        return found

    def _latest(self, cycle: str) -> Decision | None:
        return next((item for item in reversed(self.history) if item.cycle == cycle), None)


def served_hash(served: Served | None) -> str:
    """Content hash of what a domain serves, or of nothing."""
    return content_hash(served.model_dump() if served else None)


def domain_of(cycle: str) -> str:
    """Domain of a cycle's key."""
    return cycle.rsplit("-", 1)[0]


def champion(warehouse: Warehouse) -> Champion:
    """The champion as it stands; empty while nothing was ever accepted.

    Raises:
        LineageError: its file cannot be read.
    """
    path = warehouse.root / FILE
    if not path.exists():
        return Champion()
    try:
        return Champion.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise LineageError(
            f"{path} is no readable champion ({error.error_count()} problems)",
            expected="domains and history as `synde` writes them",
            remedy="restore the file from a backup; deleting it forgets every decision",
        ) from error


def served_of(model: Header) -> Served:
    """What would be served if a cycle's model were the champion of its domain.

    Args:
        model: header of `merged_models[cycle]`.
    """
    known: dict[str, str] = {row["cycle"]: row["adapter"] for row in model.info["adapters"]}
    return Served(
        kind=model.info.get("kind", "merged"),
        cycle=model.key,
        model=model.content_hash,
        adapters=tuple(Accepted(cycle=key, adapter=adapter) for key, adapter in known.items()),
    )


def promote(warehouse: Warehouse, cycle: Cycle, model: Header, verdict: str, basis: Basis = "") -> Champion:
    """Make a cycle's model the champion of its domain; call it under the training lease.

    Deciding the same model of a cycle again changes nothing.

    Args:
        warehouse: where both lie.
        cycle: the cycle that passed.
        model: header of `merged_models[cycle]`, as it was judged.
        verdict: why, for the history.
        basis: what the gate's comparison showed.

    Raises:
        LineageError: the champion cannot be read, or the model is not the one that lies there now.
    """
    own = own_adapter(cycle, model)
    now = champion(warehouse)
    if now.has_decided(cycle.key, model.content_hash):
        return now
    check_current(warehouse, cycle, model)
    domains = dict(sorted({**now.domains, cycle.domain: served_of(model)}.items()))
    return record(warehouse, now, domains, _decision(now, (cycle, model, own), (verdict, basis), accepted=True))


def reject(warehouse: Warehouse, cycle: Cycle, model: Header, verdict: str, basis: Basis = "") -> Champion:
    """Record that a cycle's model did not pass: the champion stays; call it under the training lease.

    Deciding the same model of a cycle again changes nothing.

    Raises:
        LineageError: the champion cannot be read, or the model is not the one that lies there now.
    """
    own = own_adapter(cycle, model)
    now = champion(warehouse)
    if now.has_decided(cycle.key, model.content_hash):
        return now
    check_current(warehouse, cycle, model)
    return record(warehouse, now, now.domains, _decision(now, (cycle, model, own), (verdict, basis), accepted=False))


def own_adapter(cycle: Cycle, model: Header) -> str:
    """Content hash of a cycle's own adapter in its model.

    Raises:
        LineageError: it holds none.
    """
    own = {row["adapter"] for row in model.info.get("adapters", ()) if row["cycle"] == cycle.key}
    if model.key != cycle.key or len(own) != 1:
        raise LineageError(
            f"{model.artefact}[{model.key}] holds {len(own)} adapters of cycle {cycle.key}",
            expected=f"merged_models[{cycle.key}] with the cycle's own adapter",
            remedy=f"run cycle {cycle.key} again",
        )
    return own.pop()


def model_that_lies_there(
    warehouse: Warehouse, artefact: str, key: str, wanted: str, *, which: str, remedy: str
) -> Header:
    """A cycle's model, if it is the one with this content hash.

    Raises:
        LineageError: it is gone, or another one.
    """
    found = warehouse.header(artefact, key)
    if found is None or found.content_hash != wanted:
        raise LineageError(
            f"{artefact}[{key}] is {found.content_hash[:12] if found else 'missing'}",
            expected=f"{wanted[:12]}, which {which}",
            remedy=remedy,
        )
    return found


def check_current(warehouse: Warehouse, cycle: Cycle, model: Header) -> None:
    """Refuse to act on a model that is not the one that lies there now.

    Raises:
        LineageError: it is gone, or another one.
    """
    remedy = f"evaluate cycle {cycle.key} again; the champion stays as it was"
    model_that_lies_there(warehouse, model.artefact, cycle.key, model.content_hash, which="was judged", remedy=remedy)


def _decision(now: Champion, about: tuple[Cycle, Header, str], why: tuple[str, Basis], *, accepted: bool) -> Decision:
    (cycle, model, own), (reason, basis) = about, why
    values: dict[str, Any] = {"cycle": cycle.key, "model": model.content_hash, "adapter": own}
    return Decision(accepted=accepted, reason=reason, basis=basis, previous=now.hash, **values)


def record(warehouse: Warehouse, now: Champion, domains: dict[str, Served], decision: Decision) -> Champion:
    """Write the champion with one more decision, all at once; call it under the training lease."""
    new = Champion(domains=domains, history=(*now.history, decision))
    write_atomically(warehouse.root / FILE, new.model_dump_json(indent=1) + "\n")
    return new
