"""Adapters and merged models as artefacts: train on the composition so far, merge from the pinned base, record why."""

import json
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import Base, load
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import check_inputs
from synde_pipeline.models.compose import ADAPTERS, Entry, checked_entry, compose, ledger_before, ledger_hash
from synde_pipeline.records import content_hash
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.buffer import Cycle
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.lora import save
from synde_pipeline.training.train import train_adapter

MERGED = "merged_models"


def train_cycle(warehouse: Warehouse, cycle: Cycle, config: TrainingConfig) -> tuple[Header, bool]:
    """Train the adapter of a cycle, unless the one that lies there was made from the same inputs (law 4).

    Returns:
        The adapter's header, and whether anything was trained.

    Raises:
        LineageError: the shard or an earlier adapter is missing or stale.
    """
    shard = warehouse.header(SHARDS, cycle.key)
    rows = warehouse.read_table(SHARDS, cycle.key).to_pylist()
    base = load(warehouse)
    assert shard is not None  # noqa: S101 - read_table refuses a missing shard
    check_inputs(shard, {"base_model": base.hash, "cycle": cycle.content_hash})
    entries = ledger_before(warehouse, cycle, base.hash)
    inputs = {
        "base_model": base.hash,
        "on_top_of": ledger_hash(entries),
        SHARDS: shard.content_hash,
        "config": content_hash(config.model_dump()),
    }
    found = warehouse.header(ADAPTERS, cycle.key)
    if found is not None and found.inputs == inputs:
        return found, False
    model = compose(warehouse, base, entries)
    trained = train_adapter(model, rows, config, base.tokenizer.pad_token_id or 0)
    info = {
        "cycle": cycle.key,
        "domain": cycle.domain,
        "base": base.header.info["name"],
        "config": config.model_dump(),
        "trajectories": sorted({row["trace_uid"] for row in rows if not row["is_replay"]}),
        "replayed": sorted({row["trace_uid"] for row in rows if row["is_replay"]}),
        "memory_of": sorted({uid for row in rows for uid in row["memory_trajectories"]}),
        "loss": [round(value, 5) for value in trained.curve],
    }

    def write(folder: Path) -> None:
        save(trained.peft_model, folder, base.header.info["name"], base.header.info["revision"])
        _write_lineage(folder, inputs, info)

    counts = {"sequences": len(rows), "target_tokens": trained.n_target_tokens, "steps": len(trained.curve)}
    return _publish(warehouse, (ADAPTERS, cycle.key), inputs, (counts, info), write), True


def merge_cycle(warehouse: Warehouse, cycle: Cycle) -> Header:
    """Merge the pinned base with the domain's adapters up to a cycle: one float32 sum, rounded once (law 7)."""
    base = load(warehouse)
    entries = ledger_before(warehouse, cycle, base.hash)
    entries.append(checked_entry(warehouse, cycle, base.hash, entries))
    inputs = {"base_model": base.hash, "ledger": ledger_hash(entries)}
    found = warehouse.header(MERGED, cycle.key)
    if found is not None and found.inputs == inputs:
        return found
    info = {"cycle": cycle.key, "domain": cycle.domain, "base": base.header.info["name"], "adapters": table_of(entries)}

    def write(folder: Path) -> None:
        model = compose(warehouse, base, entries)
        stored = _stored_dtype(base)
        (model if stored is None else model.to(stored)).save_pretrained(folder, safe_serialization=True)
        base.tokenizer.save_pretrained(folder)
        _write_lineage(folder, inputs, info)

    return _publish(warehouse, (MERGED, cycle.key), inputs, ({"adapters": len(entries)}, info), write)


def fresh_merged(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> Header:
    """Header of a cycle's merged model, after its whole ledger was compared with the warehouse.

    Raises:
        LineageError: the model, one of its adapters or a shard is missing or stale.
    """
    entries = ledger_before(warehouse, cycle, base_hash)
    entries.append(checked_entry(warehouse, cycle, base_hash, entries))
    header = warehouse.header(MERGED, cycle.key)
    if header is None:
        raise LineageError(f"{MERGED}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    check_inputs(header, {"base_model": base_hash, "ledger": ledger_hash(entries)})
    return header


def table_of(entries: list[Entry]) -> list[dict[str, Any]]:
    """The adapter versions in a model, as rows."""
    return [{"cycle": entry.cycle, "adapter": entry.adapter_hash, "alpha": entry.alpha} for entry in entries]


def _stored_dtype(base: Base) -> Any:
    """The type that the base's weights have on disk; a merged model keeps it."""
    import torch

    name = base.header.info.get("dtype")
    return getattr(torch, name) if name else None


def _write_lineage(folder: Path, inputs: dict[str, str], info: dict[str, Any]) -> None:
    (folder / "lineage.json").write_text(json.dumps({"inputs": inputs, **info}, indent=1), "utf-8")


def _publish(warehouse: Warehouse, where: tuple[str, str], inputs: dict[str, str], said: Any, write: Any) -> Header:
    artefact, key = where
    counts, info = said
    return warehouse.publish_folder(
        artefact,
        key,
        write,
        lambda folder: Header(
            artefact=artefact, key=key, content_hash=files_hash(folder), inputs=inputs, counts=counts, info=info
        ),
    )
