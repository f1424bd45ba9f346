"""The curated memory's ledger in LanceDB: rows of deltas with their vectors, one day replaced as a whole.

What the rows amount to is decided by `curate.fold`; this module only keeps them.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.memory.embed import DIM
from synde_pipeline.records import Delta
from synde_pipeline.storage import Warehouse

TABLE = "deltas"

_IN_USE = timedelta(hours=1)
"""Younger versions may be read, or written to, by another process."""

DELTAS = pa.schema(
    [
        pa.field("delta_id", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("effective_day", pa.date32(), nullable=False),
        pa.field("op", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("suspect", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("path", pa.list_(pa.string()), nullable=False),
        pa.field("shown", pa.list_(pa.string()), nullable=False),
        pa.field("n_tool_errors", pa.int32(), nullable=False),
        pa.field("n_repeated_failures", pa.int32(), nullable=False),
        pa.field("features", pa.list_(pa.string()), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), DIM), nullable=False),
    ]
)


def to_table(deltas: Sequence[Delta], vectors: NDArray[np.float32] | None) -> pa.Table:
    """Deltas with their vectors, shape (n, 384), as a table; no vectors are needed for no deltas."""
    vectors = np.zeros((0, DIM), np.float32) if vectors is None else vectors
    rows = [
        {"delta_id": delta.delta_id, **delta.model_dump(), "vector": vector}
        for delta, vector in zip(deltas, vectors.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=DELTAS)


def from_table(table: pa.Table) -> tuple[list[Delta], NDArray[np.float32]]:
    """Table -> deltas and their vectors, shape (n, 384)."""
    flat = table["vector"].combine_chunks().flatten().to_numpy() if len(table) else np.zeros(0, np.float32)
    return records_of(table), np.asarray(flat, np.float32).reshape(-1, DIM)


def records_of(table: pa.Table) -> list[Delta]:
    """Rows of a table as deltas."""
    rows = table.select([name for name in DELTAS.names if name not in ("delta_id", "vector")]).to_pylist()
    return [Delta.model_validate(row) for row in rows]


def _open(warehouse: Warehouse) -> Any:
    import lancedb  # heavy: only where the store is touched

    return lancedb.connect(memory_folder(warehouse))


def memory_folder(warehouse: Warehouse) -> Path:
    """Folder of the database."""
    return warehouse.root / "curated_memory" / "lance"


def replace_day(warehouse: Warehouse, day: date, rows: pa.Table) -> None:
    """Make `rows` the ledger's rows of a day, in one commit; other days' rows are never touched."""
    memory_folder(warehouse).mkdir(parents=True, exist_ok=True)
    table = _open(warehouse).create_table(TABLE, schema=DELTAS, exist_ok=True)
    condition = f"day = date '{day}'"
    if len(rows) == 0:
        if table.count_rows(condition):
            table.delete(condition)
        return
    (
        table.merge_insert("delta_id")
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .when_not_matched_by_source_delete(condition)
        .execute(rows)
    )


def replace_all(warehouse: Warehouse, rows: Sequence[pa.Table]) -> None:
    """Make `rows` the whole ledger, in one commit of a new table without older versions."""
    memory_folder(warehouse).mkdir(parents=True, exist_ok=True)
    _open(warehouse).create_table(TABLE, pa.concat_tables([DELTAS.empty_table(), *rows]), mode="overwrite")


def read_ledger(warehouse: Warehouse, as_of: date | None = None) -> tuple[list[Delta], NDArray[np.float32]]:
    """All deltas known as of a day (all days when None), and their vectors of shape (n, 384)."""
    database = _open(warehouse) if memory_folder(warehouse).is_dir() else None
    if database is None or TABLE not in database.list_tables().tables:
        return [], np.zeros((0, DIM), np.float32)
    query = database.open_table(TABLE).search().select(DELTAS.names)
    if as_of is not None:
        query = query.where(f"effective_day <= date '{as_of}'")
    return from_table(query.to_arrow())


def old_versions(warehouse: Warehouse, older_than: timedelta = _IN_USE) -> int:
    """How many versions of the table nothing needs any more: a bank of any day is read from the newest one."""
    database = _open(warehouse) if memory_folder(warehouse).is_dir() else None
    if database is None or TABLE not in database.list_tables().tables:
        return 0
    limit = datetime.now(UTC) - older_than
    versions = database.open_table(TABLE).list_versions()
    return sum(version["timestamp"].astimezone(UTC) < limit for version in versions[:-1])


def drop_old_versions(warehouse: Warehouse, older_than: timedelta = _IN_USE) -> None:
    """Remove versions of the table older than the newest one, and the rows that only they hold."""
    if old_versions(warehouse, older_than):
        _open(warehouse).open_table(TABLE).optimize(cleanup_older_than=older_than)
