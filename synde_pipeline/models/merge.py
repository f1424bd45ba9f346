"""What would be served if a cycle passes, as an artefact: put together, loaded, and compared with what it was made of.

How a cycle's adapters stand together with earlier ones is in `compose` (a ledger) and `bank` (side by side).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import Base, pinned, pinned_folder
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import check_inputs
from synde_pipeline.models.adapters import Made, publish_made
from synde_pipeline.models.bank import (
    BankRow,
    bank_hash,
    candidate_bank,
    load_bank,
    table_of_rows,
    write_bank,
)
from synde_pipeline.models.compose import (
    ADAPTERS,
    Entry,
    checked_entry,
    is_routed,
    ledger_before,
    ledger_hash,
    ledger_with,
    rule_of,
)
from synde_pipeline.models.registry import Champion, Served, champion, model_that_lies_there
from synde_pipeline.models.route import Place
from synde_pipeline.models.serve_as import MERGED, is_collected, kind_for, load_ledger, write_ledger
from synde_pipeline.settings import ModelsConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle

_AS_SUITS = ModelsConfig()


def merge_cycle(warehouse: Warehouse, cycle: Cycle, config: ModelsConfig = _AS_SUITS) -> Header:
    """Put together what would be served if the cycle passes, unless it lies there already, in whatever form.

    A ledger: the pinned base with the domain's adapters up to the cycle, one float32 sum, rounded once (law 7); or one
    exact adapter beside the base. Routed: the table of the bank; its adapters stay where they are.
    """
    base, folder_of_base = pinned(warehouse), pinned_folder(warehouse)
    held = _held(warehouse, cycle, base.content_hash)
    found = warehouse.header(MERGED, cycle.key)
    kind = kind_for(folder_of_base, config)
    if found is not None and found.inputs == held.inputs:
        if not is_collected(warehouse, found):
            return found
        kind = found.info["kind"]
    info = {"cycle": cycle.key, "domain": cycle.domain, "base": base.info["name"]}
    info["kind"] = "bank" if held.bank else kind

    def write(folder: Path) -> None:
        if held.bank:
            write_bank(folder, held.bank, warehouse)
        else:
            write_ledger(warehouse, held.ledger, kind, folder)

    made = Made({"adapters": len(held.table)}, {**info, "adapters": held.table}, write)
    return publish_made(warehouse, (MERGED, cycle.key), held.inputs, made)


@dataclass(frozen=True)
class _Held:
    """The adapters that a cycle's model holds: a ledger, or a bank."""

    inputs: dict[str, str]
    ledger: list[Entry]
    bank: list[BankRow]

    @property
    def table(self) -> list[dict[str, Any]]:
        return table_of_rows(self.bank) if self.bank else table_of(self.ledger)


def _held(warehouse: Warehouse, cycle: Cycle, base_hash: str, known: Champion | None = None) -> _Held:
    header = warehouse.header(ADAPTERS, cycle.key)
    if header is not None and is_routed(header):
        rows = candidate_bank(warehouse, cycle, base_hash, known)
        return _Held({"base_model": base_hash, "ledger": bank_hash(rows)}, [], rows)
    # What stands for all before it needs none of them.
    stands_alone = header is not None and rule_of(header).replaces
    before = [] if stands_alone else ledger_before(warehouse, cycle, base_hash, known)
    entries = ledger_with(warehouse, before, checked_entry(warehouse, cycle, base_hash, before))
    return _Held({"base_model": base_hash, "ledger": ledger_hash(entries)}, entries, [])


def fresh_merged(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> Header:
    """Header of a cycle's merged model or bank, after all its adapters were compared with the warehouse.

    A model that was decided on is compared with what was accepted then: going back later does not make it stale.

    Raises:
        LineageError: the model, one of its adapters or a shard is missing or stale.
    """
    return _fresh(warehouse, cycle, base_hash)[0]


def _fresh(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> tuple[Header, _Held]:
    header = warehouse.header(MERGED, cycle.key)
    known = champion(warehouse)
    held = _held(warehouse, cycle, base_hash, known.when_decided(cycle.key, header.content_hash) if header else known)
    if header is None:
        raise LineageError(f"{MERGED}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    check_inputs(header, held.inputs)
    return header, held


@dataclass(frozen=True)
class CycleModel:
    """The model of a cycle, ready to run."""

    model: Any
    at: Callable[[Place], AbstractContextManager[None]]
    """Model calls inside `with at((domain, scope))` use what is served there; a merged model is the same everywhere."""

    @classmethod
    def plain(cls, model: Any) -> "CycleModel":
        """A model without a router."""
        return cls(model, lambda _: nullcontext())


def cycle_model(warehouse: Warehouse, cycle: Cycle, base: Base) -> CycleModel:
    """Load what would be served if a cycle passes. A bank is put on the model of `base` itself.

    Raises:
        LineageError: it is missing or stale.
    """
    header, held = _fresh(warehouse, cycle, base.hash)
    if held.bank:
        bank = load_bank(warehouse, base.model, held.bank)
        return CycleModel(base.model, lambda place: bank.routed([place]))
    return CycleModel.plain(load_ledger(warehouse, header))


def served_model(warehouse: Warehouse, served: Served) -> Any:
    """The model of the ledger that is or would be served.

    Raises:
        LineageError: another model lies there now.
    """
    remedy = f"evaluate cycle {served.cycle} again, or roll back"
    header = model_that_lies_there(warehouse, MERGED, served.cycle, served.model, which="is served", remedy=remedy)
    return load_ledger(warehouse, header)


def table_of(entries: list[Entry]) -> list[dict[str, Any]]:
    """The adapter versions in a model, as rows."""
    return [{"cycle": entry.cycle, "adapter": entry.adapter_hash, "alpha": entry.alpha} for entry in entries]
