"""What `synde status` and `synde sql` read: headers for counts, DuckDB over the Parquet files for questions."""

from datetime import date
from typing import Any

import pandas as pd

from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.due import due_cycles
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import QUARANTINE, SUPERSEDED
from synde_pipeline.memory.daily import DELTAS, MEMORY
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, SHARDS
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import ARTEFACT as CYCLES
from synde_pipeline.training.buffer import SOURCE as EXAMPLES
from synde_pipeline.training.buffer import cycles

TABLES = (RAW_LOGS, QUARANTINE, SUPERSEDED, REFLECTIONS, DELTAS, EXAMPLES, CYCLES, SHARDS)
"""Artefacts that are Parquet tables; `synde sql` shows each under its name."""


def status(settings: Settings) -> dict[str, Any]:
    """One object that says what is in the warehouse; keys are stable (design.md)."""
    warehouse = Warehouse(settings.warehouse)
    landed = warehouse.root / "landing" / "quarantine"
    finished = [cycle for cycle in cycles(warehouse) if warehouse.header(REPORTS, cycle.key)]
    latest = warehouse.folder(REPORTS, finished[-1].key) / "report.html" if finished else None
    base = warehouse.header("base_model", "")
    return {
        "trajectories": _total(warehouse, RAW_LOGS, "rows_out"),
        "successes": _total(warehouse, RAW_LOGS, "successes"),
        "labelled": _total(warehouse, RAW_LOGS, "labelled"),
        "quarantined": _total(warehouse, RAW_LOGS, "quarantined") + _landing_quarantine(warehouse),
        "duplicates": _total(warehouse, RAW_LOGS, "duplicates"),
        "superseded": _total(warehouse, RAW_LOGS, "superseded"),
        "quarantine_folder": str(landed) if landed.exists() else None,
        "reflections": _total(warehouse, REFLECTIONS, "reflections"),
        "memory_items": len(Memory.load(warehouse, settings.memory).bank(date.max).items),
        "examples": _total(warehouse, EXAMPLES, "examples"),
        "cycles": len(cycles(warehouse)),
        "cycles_due": len(due_cycles(warehouse)),
        "adapters": len(warehouse.keys(ADAPTERS)),
        "models": len(warehouse.keys(MERGED)),
        "base": base.info["name"] if base else None,
        # Promotion comes with the gate: until then no model is served, and none is called champion.
        "champion": None,
        "latest_report": str(latest.resolve()) if latest else None,
    }


def _total(warehouse: Warehouse, artefact: str, count: str) -> int:
    headers = (warehouse.header(artefact, key) for key in warehouse.keys(artefact))
    return sum(header.counts.get(count, 0) for header in headers if header)


def _landing_quarantine(warehouse: Warehouse) -> int:
    return _total(warehouse, "landing/quarantine", "quarantined")


def sql(settings: Settings, query: str) -> pd.DataFrame:
    """Run one DuckDB query over the warehouse's tables.

    Raises:
        InputError: DuckDB refuses the query; its message says why.
    """
    import duckdb

    warehouse = Warehouse(settings.warehouse)
    # The tables are read from exactly our files; nothing else of the disk or the network is reachable by the query.
    with duckdb.connect(":memory:") as connection:
        shown = [name for name in TABLES if warehouse.keys(name)]
        for name in shown:
            files = [str(warehouse.table_path(name, key)) for key in warehouse.keys(name)]
            table = connection.read_parquet(files, hive_partitioning=False)
            connection.register(name, table.to_arrow_table() if name == CYCLES else table)
        try:
            return connection.execute(query).df()
        except duckdb.Error as error:
            raise InputError(
                f"DuckDB says: {error}",
                expected=f"SQL over {', '.join(shown) or 'tables, of which there are none yet'}",
            ) from error


__all__ = ["MEMORY", "TABLES", "sql", "status"]
