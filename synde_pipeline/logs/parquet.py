"""Columns of the raw logs: explicit Arrow schemas, and the way between records and tables."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from synde_pipeline.records import Trajectory

pc: Any = pyarrow.compute
"""Arrow's functions, which it makes when it is imported: no type checker knows them."""

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


def rows_of_elements(lists: pa.ChunkedArray) -> NDArray[np.int64]:
    """Of each element of a column of lists, in order, the row that it lies in."""
    return np.repeat(np.arange(len(lists)), np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))


def table_hash(table: pa.Table) -> str:
    """Content hash of a table: names, types and values in their order, however they are laid out in memory."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name} {column.type}\n".encode())
        chunks = column.chunks or [pa.array([], column.type)]
        _digest(digest, pa.concat_arrays(chunks))
    return digest.hexdigest()


def _digest(digest: Any, values: pa.Array) -> None:
    """What is NULL; of the rest how long lists and texts are, then what they hold."""
    digest.update(np.asarray(values.is_valid()).tobytes())
    values, kind = values.drop_null(), values.type
    if pa.types.is_struct(kind):
        for part in kind:
            _digest(digest, pc.struct_field(values, part.name))
    elif pa.types.is_list(kind):
        digest.update(np.asarray(pc.list_value_length(values)).tobytes())
        _digest(digest, pc.list_flatten(values))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        digest.update(np.asarray(pc.binary_length(values)).tobytes())
        _, offsets, data = values.buffers()
        if len(values) and data is not None:
            ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    else:
        digest.update(np.asarray(values).tobytes())
