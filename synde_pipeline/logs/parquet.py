"""Columns of the raw logs: explicit Arrow schemas, and the way between records and tables."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from synde_pipeline.records import Trajectory

_TIME = pa.timestamp("us", tz="UTC")

STEP = pa.struct(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("timestamp", _TIME),
        pa.field("state", pa.string(), nullable=False),
        pa.field("reasoning", pa.string(), nullable=False),
        pa.field("tool", pa.string(), nullable=False),
        pa.field("arguments", pa.string(), nullable=False),
        pa.field("result", pa.string(), nullable=False),
        pa.field("success", pa.bool_()),
        pa.field("confidence", pa.float64()),
    ]
)

TRAJECTORIES = pa.schema(
    [
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("trial", pa.int32(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("started_at", _TIME),
        pa.field("ended_at", _TIME),
        pa.field("system", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("shown_memory", pa.list_(pa.string()), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("steps", pa.list_(STEP), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reward", pa.float64()),
        pa.field("label_source", pa.string(), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.binary(), nullable=False),
    ]
)


def to_table(trajectories: Iterable[Trajectory]) -> pa.Table:
    """Trajectories -> table, one row each, steps nested."""
    return pa.Table.from_pylist([trajectory.model_dump() for trajectory in trajectories], schema=TRAJECTORIES)


def from_table(table: pa.Table) -> list[Trajectory]:
    """Table -> trajectories, every record checked again."""
    return [Trajectory.model_validate(row) for row in table.to_pylist()]


def rows_of(records: Iterable[Any]) -> list[dict[str, Any]]:
    """JSON-like rows of records, for content hashes."""
    return [record.model_dump(mode="json") for record in records]
