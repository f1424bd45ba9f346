"""What is in a model: each adapter with the days and trajectories that it learned from, and what making it took."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow.parquet as pq

from synde_pipeline.models.bank import TABLE
from synde_pipeline.models.compose import ADAPTERS, is_routed
from synde_pipeline.settings import LlmConfig
from synde_pipeline.storage import Header, Warehouse, read_json
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.shards import WRITTEN
from synde_pipeline.training.timings import cost_of

Place = tuple[str, str]


def contents(warehouse: Warehouse, cycle: Cycle, model: Header) -> list[dict[str, Any]]:
    """One row an adapter of the model: its cycle, places, days, trajectories (new and trained on again) and bytes.

    Args:
        warehouse: where all of it lies.
        cycle: the cycle whose model it is.
        model: header of `merged_models[cycle]`.
    """
    days = {}
    for before in cycles(warehouse):
        if before.sequence <= cycle.sequence:
            about = (row["metadata"] for row in claimed_examples(warehouse, before.key))
            days |= {one["trajectory_id"]: one["day"] for one in about}
    return [_row(warehouse, row, days) for row in model.info["adapters"]]


def _row(warehouse: Warehouse, row: dict[str, Any], days: dict[str, str]) -> dict[str, Any]:
    header = warehouse.header(ADAPTERS, row["cycle"])
    folder, scopes = warehouse.folder(ADAPTERS, row["cycle"]), None
    if header is not None and is_routed(header):
        key = next(line["key"] for line in read_json(folder / TABLE) if line["folder"] == row["folder"])
        folder, scopes = folder / row["folder"], set(key["scopes"])
    path: Any = warehouse.table_path(SHARDS, row["cycle"])
    names = ["trace_uid", "scope", "is_replay"]
    shard = pq.read_table(path, columns=names, partitioning=None).to_pylist()  # pyright: ignore[reportArgumentType]
    logged = [one for one in shard if not one["trace_uid"].startswith(WRITTEN)]
    mine = [one for one in logged if scopes is None or one["scope"] in scopes]
    new = {one["trace_uid"] for one in mine if not one["is_replay"]}
    old = {one["trace_uid"] for one in mine} - new
    when = sorted(days[uid] for uid in new | old if uid in days)
    return {
        **row,
        "learned_from": sorted(scopes if scopes is not None else {one["scope"] for one in mine}),
        "days": [when[0], when[-1]] if when else [],
        "trajectories": len(new),
        "replayed": len(old),
        "seed": header.info["config"]["seed"] if header else None,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*.safetensors")),
    }


def places_of(warehouse: Warehouse, model: Header) -> set[Place]:
    """Domain and scope of everything that a model's adapters were made from."""
    return {place for row in model.info["adapters"] for place in claimed_places(warehouse, row["cycle"])}


def claimed_places(warehouse: Warehouse, cycle: str) -> set[Place]:
    """Domain and scope of what one cycle claimed."""
    about = (row["metadata"] for row in claimed_examples(warehouse, cycle))
    return {(one["domain"], one["scope"]) for one in about}


def cost(
    warehouse: Warehouse, held: Sequence[dict[str, Any]], arms: dict[str, dict[str, Any]], prices: LlmConfig
) -> dict[str, Any]:
    """What the model cost to make and what its arms cost to use; money where a price of prompt tokens is set.

    Args:
        warehouse: where timings lie.
        held: from `contents`.
        arms: of the report.
        prices: of a million tokens.
    """
    keys = {row["cycle"] for row in held}
    return {
        "adapters": len(held),
        "adapter_bytes": sum(row["bytes"] for row in held),
        "training": _sums(warehouse, keys),
        "arms": {arm: _use(values, prices.price_in) for arm, values in arms.items() if "note" not in values},
    }


def _sums(warehouse: Warehouse, keys: Iterable[str]) -> dict[str, Any]:
    headers = [header for key in sorted(keys) if (header := warehouse.header(ADAPTERS, key))]
    return {
        "cycles": len(headers),
        "sequences": sum(header.counts.get("sequences", 0) for header in headers),
        "steps": sum(header.counts.get("steps", 0) for header in headers),
        "cpu_s": cost_of(warehouse, [header.key for header in headers]),
    }


def _use(values: dict[str, Any], price: float) -> dict[str, Any]:
    tokens = values.get("context_tokens")
    money = round(tokens * price / 1000, 6) if price and tokens is not None else None
    return {"context_tokens": tokens, "latency_ms": values.get("latency_ms"), "money_per_thousand": money}
