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

from synde_pipeline.errors import LineageError
from synde_pipeline.records import Delta
from synde_pipeline.storage import Warehouse

_DIM = 384
"""Length of vectors in the table `deltas`; those of another length N lie in `deltas_N`."""

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
        pa.field("vector", pa.list_(pa.float32(), _DIM), nullable=False),
    ]
)


def schema_of(dim: int) -> pa.Schema:
    """The columns, with vectors of a length."""
    column = DELTAS.get_field_index("vector")
    return DELTAS.set(column, pa.field("vector", pa.list_(pa.float32(), dim), nullable=False))


def to_table(deltas: Sequence[Delta], vectors: NDArray[np.float32] | None) -> pa.Table:
    """Deltas with their vectors, shape (n, dim), as a table; no vectors are needed for no deltas."""
    vectors = np.zeros((0, _DIM), np.float32) if vectors is None else vectors
    rows = [
        {"delta_id": delta.delta_id, **delta.model_dump(), "vector": vector}
        for delta, vector in zip(deltas, vectors.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=schema_of(vectors.shape[1]))


def from_table(table: pa.Table) -> tuple[list[Delta], NDArray[np.float32]]:
    """Table -> deltas and their vectors, shape (n, dim)."""
    return records_of(table), _vectors(table)


def _vectors(table: pa.Table) -> NDArray[np.float32]:
    flat = table["vector"].combine_chunks().flatten().to_numpy() if len(table) else np.zeros(0, np.float32)
    return np.asarray(flat, np.float32).reshape(-1, _dim_of(table))


def records_of(table: pa.Table) -> list[Delta]:
    """Rows of a table as deltas."""
    rows = table.select([name for name in DELTAS.names if name not in ("delta_id", "vector")]).to_pylist()
    return [Delta.model_validate(row) for row in rows]


def _dim_of(table: pa.Table) -> int:
    return table.schema.field("vector").type.list_size


def _name_of(table: pa.Table) -> str:
    """Name of the LanceDB table that takes these rows: one for each length of vectors."""
    return "deltas" if _dim_of(table) == _DIM else f"deltas_{_dim_of(table)}"


def _open(warehouse: Warehouse) -> Any:
    import lancedb  # heavy: only where the store is touched

    return lancedb.connect(memory_folder(warehouse))


def memory_folder(warehouse: Warehouse) -> Path:
    """Folder of the database."""
    return warehouse.root / "curated_memory" / "lance"


def _tables(warehouse: Warehouse) -> list[Any]:
    """The LanceDB tables that there are, by name; more than one only after a change of embedder."""
    if not memory_folder(warehouse).is_dir():
        return []
    database = _open(warehouse)
    return [database.open_table(name) for name in sorted(database.list_tables().tables)]


def replace_day(warehouse: Warehouse, day: date, rows: pa.Table) -> None:
    """Make `rows` the ledger's rows of a day, in one commit; other days' rows are never touched."""
    memory_folder(warehouse).mkdir(parents=True, exist_ok=True)
    database, condition = _open(warehouse), f"day = date '{day}'"
    if len(rows):
        table = database.create_table(_name_of(rows), schema=schema_of(_dim_of(rows)), exist_ok=True)
        (
            table.merge_insert("delta_id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete(condition)
            .execute(rows)
        )
    for name in database.list_tables().tables:
        if len(rows) == 0 or name != _name_of(rows):
            table = database.open_table(name)
            if table.count_rows(condition):
                table.delete(condition)


def replace_all(warehouse: Warehouse, rows: Sequence[pa.Table]) -> None:
    """Make `rows` the whole ledger: new tables without older versions."""
    memory_folder(warehouse).mkdir(parents=True, exist_ok=True)
    database = _open(warehouse)
    by_name: dict[str, list[pa.Table]] = {"deltas": [DELTAS.empty_table()]}
    for table in rows:
        if len(table):
            by_name.setdefault(_name_of(table), []).append(table)
    for name in set(database.list_tables().tables) - by_name.keys():
        database.drop_table(name)
    for name, found in by_name.items():
        database.create_table(name, pa.concat_tables(found), mode="overwrite")


def read_ledger(warehouse: Warehouse, as_of: date | None = None) -> tuple[list[Delta], NDArray[np.float32]]:
    """All deltas known as of a day (all days when None), and their vectors of shape (n, dim).

    Raises:
        LineageError: some days' vectors are of another length than others'.
    """
    return from_table(_known(warehouse, as_of, DELTAS.names))


def read_columns(warehouse: Warehouse, *names: str, as_of: date | None = None) -> pa.Table:
    """Some columns of all deltas known as of a day (all days when None)."""
    return _known(warehouse, as_of, list(names))


def read_rows(warehouse: Warehouse, as_of: date | None = None) -> pa.Table:
    """All deltas known as of a day (all days when None), without their vectors."""
    return _known(warehouse, as_of, [name for name in DELTAS.names if name != "vector"])


def read_vectors(warehouse: Warehouse, as_of: date | None = None) -> dict[str, NDArray[np.float32]]:
    """Ids of the lessons and runs known as of a day (all days when None) -> their vectors, (dim,)."""
    rows = _known(warehouse, as_of, ["delta_id", "vector"], "op in ('ADD', 'EVIDENCE')")
    return dict(zip(rows["delta_id"].to_pylist(), _vectors(rows), strict=True))


def _known(warehouse: Warehouse, as_of: date | None, columns: list[str], which: str = "true") -> pa.Table:
    """Columns of the rows known as of a day."""
    known = which if as_of is None else f"effective_day <= date '{as_of}' and {which}"
    found = [table.search().select(columns).where(known).to_arrow() for table in _tables(warehouse)]
    found = [rows for rows in found if len(rows)]
    if len(found) > 1:
        raise LineageError(
            "the ledger's vectors have several lengths",
            expected="one embedder's",
            remedy="`synde run` to embed every landed day again",
        )
    return found[0] if found else DELTAS.empty_table().select(columns)


def old_versions(warehouse: Warehouse, older_than: timedelta = _IN_USE) -> int:
    """How many versions of the tables nothing needs any more: a bank of any day is read from the newest one."""
    return sum(_n_old(table, older_than) for table in _tables(warehouse))


def _n_old(table: Any, older_than: timedelta) -> int:
    limit = datetime.now(UTC) - older_than
    return sum(version["timestamp"].astimezone(UTC) < limit for version in table.list_versions()[:-1])


def drop_old_versions(warehouse: Warehouse, older_than: timedelta = _IN_USE) -> None:
    """Remove versions of the tables older than the newest one, and the rows that only they hold."""
    for table in _tables(warehouse):
        if _n_old(table, older_than):
            table.optimize(cleanup_older_than=older_than)
