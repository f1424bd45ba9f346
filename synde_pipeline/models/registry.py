"""The champion: what serving uses, and every decision that led there. One small file, replaced atomically.

It only records: whether a model passes is the gate's to say, in `evaluation`. Fail-closed (law 11): whatever cannot be
read or verified leaves the champion as it is. No wall time is kept, so equal histories are equal bytes.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synde_pipeline.errors import LineageError
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Header, Warehouse, write_atomically
from synde_pipeline.training.buffer import Cycle

FILE = "champion.json"


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
    """One verdict on one cycle's model."""

    cycle: str
    accepted: bool
    reason: str
    model: str
    """Content hash of the model that was judged."""
    adapter: str
    """Content hash of the cycle's own adapter in it."""
    previous: str
    """`Champion.hash` before the decision."""


class Champion(_Record):
    """What is served in each domain, and how it came to be."""

    domains: dict[str, Served] = {}
    history: tuple[Decision, ...] = ()
    """In the order decided; only ever appended to."""

    @property
    def hash(self) -> str:
        """Content hash of what is served; the history is no part of it."""
        return content_hash({domain: served.model_dump() for domain, served in self.domains.items()})

    def verdict_on(self, cycle: str, adapter: str) -> bool | None:
        """Whether a cycle's adapter was accepted; None while undecided, or when another adapter of it was judged."""
        latest = self._latest(cycle)
        return latest.accepted if latest is not None and latest.adapter == adapter else None

    def has_decided(self, cycle: str, model: str) -> bool:
        """Whether the last word on a cycle was about this very model."""
        latest = self._latest(cycle)
        return latest is not None and latest.model == model

    def _latest(self, cycle: str) -> Decision | None:
        return next((item for item in reversed(self.history) if item.cycle == cycle), None)


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


def promote(warehouse: Warehouse, cycle: Cycle, model: Header, verdict: str) -> Champion:
    """Make a cycle's model the champion of its domain; call it under the training lease.

    Deciding the same model of a cycle again changes nothing.

    Args:
        warehouse: where both lie.
        cycle: the cycle that passed.
        model: header of `merged_models[cycle]`, as it was judged.
        verdict: why, for the history.

    Raises:
        LineageError: the champion cannot be read, or the model is not the one that lies there now.
    """
    own = _own_adapter(cycle, model)
    now = champion(warehouse)
    if now.has_decided(cycle.key, model.content_hash):
        return now
    _check_current(warehouse, cycle, model)
    domains = dict(sorted({**now.domains, cycle.domain: served_of(model)}.items()))
    return _write(warehouse, now, domains, _decision(now, (cycle, model, own), verdict, accepted=True))


def reject(warehouse: Warehouse, cycle: Cycle, model: Header, verdict: str) -> Champion:
    """Record that a cycle's model did not pass: the champion stays; call it under the training lease.

    Deciding the same model of a cycle again changes nothing.

    Raises:
        LineageError: the champion cannot be read, or the model is not the one that lies there now.
    """
    own = _own_adapter(cycle, model)
    now = champion(warehouse)
    if now.has_decided(cycle.key, model.content_hash):
        return now
    _check_current(warehouse, cycle, model)
    return _write(warehouse, now, now.domains, _decision(now, (cycle, model, own), verdict, accepted=False))


def _own_adapter(cycle: Cycle, model: Header) -> str:
    own = {row["adapter"] for row in model.info.get("adapters", ()) if row["cycle"] == cycle.key}
    if model.key != cycle.key or len(own) != 1:
        raise LineageError(
            f"{model.artefact}[{model.key}] holds {len(own)} adapters of cycle {cycle.key}",
            expected=f"merged_models[{cycle.key}] with the cycle's own adapter",
            remedy=f"run cycle {cycle.key} again",
        )
    return own.pop()


def _check_current(warehouse: Warehouse, cycle: Cycle, model: Header) -> None:
    found = warehouse.header(model.artefact, cycle.key)
    if found is None or found.content_hash != model.content_hash:
        raise LineageError(
            f"{model.artefact}[{cycle.key}] is {found.content_hash[:12] if found else 'missing'}",
            expected=f"{model.content_hash[:12]}, which was judged",
            remedy=f"evaluate cycle {cycle.key} again; the champion stays as it was",
        )


def _decision(now: Champion, about: tuple[Cycle, Header, str], verdict: str, *, accepted: bool) -> Decision:
    cycle, model, own = about
    values: dict[str, Any] = {"cycle": cycle.key, "model": model.content_hash, "adapter": own}
    return Decision(accepted=accepted, reason=verdict, previous=now.hash, **values)


def _write(warehouse: Warehouse, now: Champion, domains: dict[str, Served], decision: Decision) -> Champion:
    new = Champion(domains=domains, history=(*now.history, decision))
    write_atomically(warehouse.root / FILE, new.model_dump_json(indent=1) + "\n")
    return new
