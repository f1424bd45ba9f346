"""Adapters and merged models as artefacts: train what the config says, put together what would be served, record why.

How a cycle's adapters stand together with earlier ones is in `compose` (a ledger) and `bank` (side by side).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import Base, load, pinned, pinned_folder
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import FILE, check_inputs, write_lineage
from synde_pipeline.models.bank import (
    BankRow,
    Group,
    bank_hash,
    candidate_bank,
    groups_to_train,
    load_bank,
    table_of_rows,
    train_groups,
    write_bank,
    write_groups,
)
from synde_pipeline.models.compose import (
    ADAPTERS,
    RULES,
    Entry,
    checked_entry,
    compose,
    is_routed,
    ledger_before,
    ledger_hash,
    ledger_with,
)
from synde_pipeline.models.guard import base_data, guarded
from synde_pipeline.models.keys import Key, keys_of_groups
from synde_pipeline.models.registry import Served
from synde_pipeline.models.route import Place
from synde_pipeline.models.serve_as import MERGED, is_collected, kind_for, load_ledger, write_ledger
from synde_pipeline.records import content_hash
from synde_pipeline.settings import ModelsConfig, TrainingConfig
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.base_replay import BaseData, with_base
from synde_pipeline.training.buffer import Cycle
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.groups import groups_of, replay_rule
from synde_pipeline.training.lora import write
from synde_pipeline.training.shards import ShardRow, rows_rule
from synde_pipeline.training.train import TrainingRun, train

_AS_SUITS = ModelsConfig()


@dataclass(frozen=True)
class _Made:
    """What a training or a merge has to say of its result, and how to write it."""

    counts: dict[str, int]
    info: dict[str, Any]
    write: Callable[[Path], None]


def train_cycle(
    warehouse: Warehouse, cycle: Cycle, config: TrainingConfig, given: BaseData | None = None
) -> tuple[Header, bool]:
    """Train the adapters of a cycle, unless those that lie there were made from the same inputs (law 4).

    Args:
        warehouse: where the shard lies.
        cycle: whose.
        config: how to train.
        given: the base's own data, where the config asks for some; None samples it from the base.

    Returns:
        The adapters' header, and whether anything was trained.

    Raises:
        LineageError: the shard or an earlier adapter is missing or stale.
    """
    shard = warehouse.header(SHARDS, cycle.key)
    rows = warehouse.read_table(SHARDS, cycle.key).to_pylist()
    base = load(warehouse)
    assert shard is not None  # noqa: S101 - read_table refuses a missing shard
    check_inputs(shard, {"base_model": base.hash, "cycle": cycle.content_hash})
    check_inputs(shard, {"replay": replay_rule(config), "rows": rows_rule(config)})
    entries = ledger_before(warehouse, cycle, base.hash) if RULES[config.composition].on_ledger else []
    data = base_data(warehouse, base, config, given)
    inputs = {
        "base_model": base.hash,
        "on_top_of": ledger_hash(entries),
        SHARDS: shard.content_hash,
        "config": content_hash(config.model_dump()),
        **({"base_replay": data.hash} if data else {}),
        **({"embedder": shard.info.get("embedder", "none")} if config.composition == "routed" else {}),
    }
    found = warehouse.header(ADAPTERS, cycle.key)
    if found is not None and found.inputs == inputs:
        return found, False
    if config.composition == "routed":
        groups = groups_to_train(rows, groups_of(warehouse, cycle, config.scopes_per_adapter))
        own = {group.folder: group.rows for group in groups}
        keys = keys_of_groups(warehouse, cycle, own, shard.info.get("embedder"))
        made = _train_routed((base, cycle.domain), groups, keys, config, data)
    else:
        if config.composition == "joint":
            config = config.model_copy(update={"rank": config.joint_rank})
        run = guarded(warehouse, entries, config)
        mixed = with_base(rows, data, config.base_replay, seed=cycle.key) if data else rows
        made = _train_one(base, mixed, compose(warehouse, base, entries), config, run)
    info = {
        "cycle": cycle.key,
        "domain": cycle.domain,
        "base": base.header.info["name"],
        "config": config.model_dump(),
        "trajectories": sorted({row["trace_uid"] for row in rows if not row["is_replay"]}),
        "replayed": sorted({row["trace_uid"] for row in rows if row["is_replay"]}),
        "memory_of": sorted({uid for row in rows for uid in row["memory_trajectories"]}),
        **made.info,
    }
    counts = {"sequences": len(rows), **made.counts}
    return _publish(warehouse, (ADAPTERS, cycle.key), inputs, _Made(counts, info, made.write)), True


def _train_one(base: Base, rows: Sequence[ShardRow], model: Any, config: TrainingConfig, run: TrainingRun) -> _Made:
    trained = train(model, [rows], config, run)
    (curve,) = trained.curves
    counts = {"target_tokens": trained.n_target_tokens[0], "steps": len(curve)}
    name = (base.header.info["name"], base.header.info["revision"])
    bank = trained.bank
    info = {"loss": [round(value, 5) for value in curve]}
    return _Made(counts, info, lambda folder: write(bank.weights(0), folder, name, transposed=bank.transposed))


def _train_routed(
    where: tuple[Base, str],
    groups: Sequence[Group],
    keys: Mapping[str, Key],
    config: TrainingConfig,
    data: BaseData | None,
) -> _Made:
    trained = train_groups(where[0], groups, config, data)
    columns = zip_longest(*trained.curves)
    present = [[value for value in column if value is not None] for column in columns]
    about = [
        {
            "folder": group.folder,
            "scopes": list(group.scopes),
            "sequences": len(group.rows),
            "first_loss": round(curve[0], 5),
            "last_loss": round(curve[-1], 5),
        }
        for group, curve in zip(groups, trained.curves, strict=True)
    ]
    counts = {"target_tokens": sum(trained.n_target_tokens), "steps": len(present), "groups": len(groups)}
    info = {"loss": [round(sum(values) / len(values), 5) for values in present], "groups": about}
    return _Made(counts, info, lambda folder: write_groups(folder, trained, groups, keys, where))


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

    made = _Made({"adapters": len(held.table)}, {**info, "adapters": held.table}, write)
    return _publish(warehouse, (MERGED, cycle.key), held.inputs, made)


@dataclass(frozen=True)
class _Held:
    """The adapters that a cycle's model holds: a ledger, or a bank."""

    inputs: dict[str, str]
    ledger: list[Entry]
    bank: list[BankRow]

    @property
    def table(self) -> list[dict[str, Any]]:
        return table_of_rows(self.bank) if self.bank else table_of(self.ledger)


def _held(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> _Held:
    header = warehouse.header(ADAPTERS, cycle.key)
    if header is not None and is_routed(header):
        rows = candidate_bank(warehouse, cycle, base_hash)
        return _Held({"base_model": base_hash, "ledger": bank_hash(rows)}, [], rows)
    before = ledger_before(warehouse, cycle, base_hash)
    entries = ledger_with(warehouse, before, checked_entry(warehouse, cycle, base_hash, before))
    return _Held({"base_model": base_hash, "ledger": ledger_hash(entries)}, entries, [])


def fresh_merged(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> Header:
    """Header of a cycle's merged model or bank, after all its adapters were compared with the warehouse.

    Raises:
        LineageError: the model, one of its adapters or a shard is missing or stale.
    """
    held = _held(warehouse, cycle, base_hash)
    header = warehouse.header(MERGED, cycle.key)
    if header is None:
        raise LineageError(f"{MERGED}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    check_inputs(header, held.inputs)
    return header


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
    header = fresh_merged(warehouse, cycle, base.hash)
    if header.info.get("kind") == "bank":
        bank = load_bank(warehouse, base.model, candidate_bank(warehouse, cycle, base.hash))
        return CycleModel(base.model, lambda place: bank.routed([place]))
    return CycleModel.plain(load_ledger(warehouse, header))


def served_model(warehouse: Warehouse, served: Served) -> Any:
    """The model of the ledger that is or would be served.

    Raises:
        LineageError: another model lies there now.
    """
    header = warehouse.header(MERGED, served.cycle)
    if header is None or header.content_hash != served.model:
        raise LineageError(
            f"{MERGED}[{served.cycle}] is {header.content_hash[:12] if header else 'missing'}",
            expected=f"{served.model[:12]}, which is served",
            remedy=f"evaluate cycle {served.cycle} again, or roll back",
        )
    return load_ledger(warehouse, header)


def table_of(entries: list[Entry]) -> list[dict[str, Any]]:
    """The adapter versions in a model, as rows."""
    return [{"cycle": entry.cycle, "adapter": entry.adapter_hash, "alpha": entry.alpha} for entry in entries]


def _publish(warehouse: Warehouse, where: tuple[str, str], inputs: dict[str, str], made: _Made) -> Header:
    artefact, key = where

    def write(folder: Path) -> None:
        made.write(folder)
        write_lineage(folder, warehouse, inputs, made.info)

    def describe(folder: Path) -> Header:
        found = files_hash(folder, without=[FILE])
        return Header(artefact=artefact, key=key, content_hash=found, inputs=inputs, counts=made.counts, info=made.info)

    return warehouse.publish_folder(artefact, key, write, describe)
