"""Questions to the warehouse: DuckDB over the published Parquet files, answers as pandas frames."""

from typing import Any

import pandas as pd

from synde_pipeline.errors import InputError
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import QUARANTINE, SUPERSEDED
from synde_pipeline.memory.daily import DELTAS
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import SOURCE as EXAMPLES
from synde_pipeline.training.cycles import ARTEFACT as CYCLES
from synde_pipeline.training.daily import SHARDS

TABLES = (RAW_LOGS, QUARANTINE, SUPERSEDED, REFLECTIONS, DELTAS, EXAMPLES, CYCLES, SHARDS)
"""Artefacts that are Parquet tables; a query sees each that has been published, under its name."""


def sql(warehouse: Warehouse, query: str) -> pd.DataFrame:
    """Run one DuckDB query over the warehouse's tables. It can read nothing else: no file, no network.

    Raises:
        InputError: DuckDB refuses the query; its message says why.
    """
    import duckdb

    shown = {
        name: [str(warehouse.table_path(name, key).resolve()) for key in warehouse.keys(name)]
        for name in TABLES
        if warehouse.keys(name)
    }
    with duckdb.connect(":memory:") as connection:
        for name, files in shown.items():
            connection.read_parquet(files, hive_partitioning=False).create_view(name)
        connection.execute("set allowed_paths = $1", [[file for files in shown.values() for file in files]])
        connection.execute("set enable_external_access = false")
        try:
            found: Any = connection.execute(query)
            if found is None:  # no statement in it
                raise InputError("the query is empty", expected=f"SQL over {', '.join(shown)}")
            return found.df()
        except duckdb.Error as error:
            raise InputError(
                f"DuckDB says: {error}",
                expected=f"SQL over {', '.join(shown) or 'tables, of which there are none yet'}",
            ) from error


def logs_by_outcome(warehouse: Warehouse) -> list[dict[str, Any]]:
    """How many trajectories there are of each domain, source and outcome."""
    query = "select domain, source, outcome, count(*) as n from raw_logs group by all order by all"
    return [{str(name): value for name, value in row.items()} for row in sql(warehouse, query).to_dict("records")]
