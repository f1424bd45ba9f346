"""Composition: which adapters stand on the base, in which order, and adding them up exactly (law 7).

Each way to compose is three answers (`RULES`): what a cycle's adapter is trained on, what it leaves of the ledger
before it, and how many old logs it needs. Routed adapters are in `bank` and in no ledger; writing a merged model to
disk is in `merge`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from synde_pipeline.base_model import Base
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import check_inputs
from synde_pipeline.models.registry import Champion, champion
from synde_pipeline.settings_slow import Composition, TrainingConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.lora import AdapterWeights, read

ADAPTERS = "adapters"


@dataclass(frozen=True)
class Rule:
    """What a way to compose does with the adapters of earlier cycles."""

    on_ledger: bool = False
    """Whether an adapter is trained on the base plus the ledger; else on the base alone."""
    in_ledger: bool = True
    """Whether it is added to a ledger; else it is served unmerged."""
    replaces: bool = False
    """Whether it stands for all adapters before it, which leave the ledger."""


RULES: dict[Composition, Rule] = {
    "routed": Rule(in_ledger=False),
    "sequential": Rule(on_ledger=True),
    "joint": Rule(replaces=True),
    "null_space": Rule(on_ledger=True),
    "independent": Rule(),
}
assert set(RULES) == set(get_args(Composition))  # noqa: S101 - a new name needs its rule


def rule_of(adapters: Header) -> Rule:
    """The rule by which a cycle's adapters were trained."""
    return RULES[TrainingConfig.model_validate(adapters.info["config"]).composition]


@dataclass(frozen=True)
class Entry:
    """One adapter in a composition."""

    cycle: str
    adapter_hash: str
    alpha: float = 1.0


def ledger_before(warehouse: Warehouse, cycle: Cycle, base_hash: str, known: Champion | None = None) -> list[Entry]:
    """The domain's ledger before a cycle: the adapters of its earlier cycles, in order.

    Left out are adapters that were rejected, by the champion as it is or as it is `known`, and so never enter a ledger,
    routed ones, and those that a later one stands for.

    Raises:
        LineageError: one is missing, was trained on another base, or on another ledger.
    """
    known = known or champion(warehouse)
    entries: list[Entry] = []
    for before in cycles(warehouse):
        if before.domain != cycle.domain or before.number >= cycle.number:
            continue
        header = warehouse.header(ADAPTERS, before.key)
        if header is not None and not rule_of(header).in_ledger:
            continue
        # What is out needs no check: it may stand on others that are out as well.
        if header is None or known.verdict_on(before.key, header.content_hash) is not False:
            entry = checked_entry(warehouse, before, base_hash, entries)
            entries = ledger_with(warehouse, entries, entry)
    return entries


def ledger_with(warehouse: Warehouse, entries: list[Entry], own: Entry) -> list[Entry]:
    """A ledger after a cycle's adapter entered it."""
    header = warehouse.header(ADAPTERS, own.cycle)
    return [own] if header is not None and rule_of(header).replaces else [*entries, own]


def is_routed(adapters: Header) -> bool:
    """Whether a cycle's adapters were trained to be routed."""
    return not rule_of(adapters).in_ledger


def checked_entry(warehouse: Warehouse, cycle: Cycle, base_hash: str, ledger: list[Entry]) -> Entry:
    """A cycle's adapter as a ledger entry, after its recorded inputs were compared with the warehouse.

    Raises:
        LineageError: the adapter is missing or was made from other inputs.
    """
    header = warehouse.header(ADAPTERS, cycle.key)
    if header is None:
        raise LineageError(f"adapters[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    shard = warehouse.header(SHARDS, cycle.key)
    if shard is None:
        raise LineageError(f"{SHARDS}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    check_inputs(shard, {"base_model": base_hash, "cycle": cycle.content_hash})
    below = ledger_hash(ledger if rule_of(header).on_ledger else [])
    check_inputs(header, {"base_model": base_hash, "on_top_of": below, SHARDS: shard.content_hash})
    return Entry(cycle.key, header.content_hash)


def ledger_hash(entries: Iterable[Entry]) -> str:
    """Text that names a ledger: its adapters and factors in order; `base` when it is empty."""
    return " + ".join(f"{entry.alpha:g}*{entry.adapter_hash[:16]}" for entry in entries) or "base"


def add_adapters(model: Any, adapters: Iterable[tuple[AdapterWeights, float]]) -> Any:
    """Add sum alpha * scale * B @ A to a float32 model's matrices, in place, all adapters in one pass.

    Raises:
        LineageError: an adapter names a module that the model does not have, or has another shape.
    """
    import torch

    deltas: dict[str, Any] = {}
    for adapter, alpha in adapters:
        for name, (a, b) in adapter.matrices.items():
            delta = (alpha * adapter.scale) * (b @ a)  # (out, rank) @ (rank, in) -> (out, in)
            deltas[name] = deltas[name] + delta if name in deltas else delta
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, delta in deltas.items():
            if name not in modules:
                raise LineageError(
                    f"the adapter's module {name} is not in the model", remedy="use the adapter's own base"
                )
            weight = modules[name].weight
            # GPT-2's Conv1D keeps its weight as (in, out).
            oriented = delta.T if type(modules[name]).__name__ == "Conv1D" else delta
            if weight.shape != oriented.shape:
                raise LineageError(
                    f"adapter shape {tuple(oriented.shape)}", expected=f"{tuple(weight.shape)} of {name}"
                )
            weight += oriented
    return model


def compose(warehouse: Warehouse, base: Base, entries: Iterable[Entry]) -> Any:
    """The base's model plus a ledger's adapters, in float32; changes and returns the base's model."""
    loaded = [(read(warehouse.folder(ADAPTERS, entry.cycle)), entry.alpha) for entry in entries]
    return add_adapters(base.model, loaded)
