"""A cycle's adapters as an artefact: trained as the config says, on what the composition says, and never twice.

What a training must leave as it is comes from `guard`; putting adapters together is in `merge`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import Base, load
from synde_pipeline.lineage import FILE, check_inputs, write_lineage
from synde_pipeline.models.compose import ADAPTERS, RULES, compose, ledger_before, ledger_hash
from synde_pipeline.models.grouped import Group, groups_to_train, train_groups, write_groups
from synde_pipeline.models.guard import base_data, guarded
from synde_pipeline.models.keys import Key, keys_of_groups
from synde_pipeline.records import content_hash
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.base_replay import BaseData, with_base
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.groups import groups_of, replay_rule
from synde_pipeline.training.lora import write
from synde_pipeline.training.shards import WRITTEN, ShardRow, rows_rule
from synde_pipeline.training.train import StepReport, TrainingRun, train

CHECKPOINTS = "checkpoints"
_ANY_MACHINE = MachineConfig()


@dataclass(frozen=True)
class Made:
    """What a training or a merge has to say of its result, and how to write it."""

    counts: dict[str, int]
    info: dict[str, Any]
    write: Callable[[Path], None]


def train_cycle(
    warehouse: Warehouse,
    cycle: Cycle,
    config: TrainingConfig,
    given: BaseData | None = None,
    machine: MachineConfig = _ANY_MACHINE,
    on_step: Callable[[StepReport], None] | None = None,
) -> tuple[Header, bool]:
    """Train the adapters of a cycle, unless those that lie there were made from the same inputs (law 4).

    A training that was interrupted goes on from its checkpoint, to the same bits.

    Args:
        warehouse: where the shard lies.
        cycle: whose.
        config: how to train.
        given: the base's own data, where the config asks for some; None samples it from the base.
        machine: limits of this machine.
        on_step: told of every optimiser step.

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
    checkpoint = warehouse.path(CHECKPOINTS, cycle.key)
    surroundings = {"machine": machine, "on_step": on_step, "checkpoint": checkpoint}
    if config.composition == "routed":
        groups = groups_to_train(rows, groups_of(warehouse, cycle, config.scopes_per_adapter))
        own = {group.folder: group.rows for group in groups}
        keys = keys_of_groups(warehouse, cycle, own, shard.info.get("embedder"))
        about = (base, cycle.domain, data)
        made = _train_routed(about, groups, keys, config, TrainingRun(**surroundings))
    else:
        if config.composition == "joint":
            config = config.model_copy(update={"rank": config.joint_rank})
        run = replace(guarded(warehouse, entries, config), **surroundings)
        mixed = with_base(rows, data, config.base_replay, seed=cycle.key) if data else rows
        made = _train_one(base, mixed, compose(warehouse, base, entries), config, run)
    info = {
        "cycle": cycle.key,
        "domain": cycle.domain,
        "base": base.header.info["name"],
        "config": config.model_dump(),
        "trajectories": _trajectories(rows, are_old=False),
        "replayed": _trajectories(rows, are_old=True),
        "memory_of": sorted({uid for row in rows for uid in row["memory_trajectories"]}),
        **made.info,
    }
    counts = {"sequences": len(rows), **made.counts}
    header = publish_made(warehouse, (ADAPTERS, cycle.key), inputs, Made(counts, info, made.write))
    from synde_pipeline.training.checkpoint import clear_checkpoint  # loads torch

    clear_checkpoint(checkpoint)
    return header, True


def _trajectories(rows: Sequence[ShardRow], *, are_old: bool) -> list[str]:
    """Uids behind new or old rows; rows that memory alone wrote stem from the trajectories of `memory_of`."""
    uids = {row["trace_uid"] for row in rows if row["is_replay"] == are_old}
    return sorted(uid for uid in uids if not uid.startswith(WRITTEN))


def _train_one(base: Base, rows: Sequence[ShardRow], model: Any, config: TrainingConfig, run: TrainingRun) -> Made:
    trained = train(model, [rows], config, run)
    (curve,) = trained.curves
    counts = {"target_tokens": trained.n_target_tokens[0], "steps": len(curve)}
    name = (base.header.info["name"], base.header.info["revision"])
    bank = trained.bank
    info = {"loss": [round(value, 5) for value in curve]}
    return Made(counts, info, lambda folder: write(bank.weights(0), folder, name, transposed=bank.transposed))


def _train_routed(
    about: tuple[Base, str, BaseData | None],
    groups: Sequence[Group],
    keys: Mapping[str, Key],
    config: TrainingConfig,
    run: TrainingRun,
) -> Made:
    base, domain, data = about
    trained = train_groups(base, groups, config, data, run)
    columns = zip_longest(*trained.curves)
    present = [[value for value in column if value is not None] for column in columns]
    facts = [
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
    info = {"loss": [round(sum(values) / len(values), 5) for values in present], "groups": facts}
    return Made(counts, info, lambda folder: write_groups(folder, trained, groups, keys, (base, domain)))


def publish_made(warehouse: Warehouse, where: tuple[str, str], inputs: dict[str, str], made: Made) -> Header:
    """Publish a folder with its lineage; `where` is its artefact and key."""
    artefact, key = where

    def write(folder: Path) -> None:
        made.write(folder)
        write_lineage(folder, warehouse, inputs, made.info)

    def describe(folder: Path) -> Header:
        found = files_hash(folder, without=[FILE])
        return Header(artefact=artefact, key=key, content_hash=found, inputs=inputs, counts=made.counts, info=made.info)

    return warehouse.publish_folder(artefact, key, write, describe)
