"""Our side of `synde bench ingest`: block by block through the column engine, and a whole day of raw logs."""

import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synde_pipeline.logs.columns import BLOCK_BYTES, rows_of_lines
from synde_pipeline.logs.daily import ARTEFACT, QUARANTINE, publish_raw_logs
from synde_pipeline.logs.landing import day_index
from synde_pipeline.logs.parquet import TRAJECTORIES
from synde_pipeline.storage import Warehouse

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def ingest(words: Words) -> Prepared:
    """Lines to typed Parquet, bad ones with their reasons to a second file."""
    pa.set_cpu_count(1)
    folder = Path(tempfile.mkdtemp(prefix="synde-bench-"))
    bad = set(json.loads(Path(words["bad"]).read_text("utf-8")))

    def run() -> dict[str, Any]:
        n_rows, first, aside = 0, 0, []
        with (
            Path(words["file"]).open("rb") as file,
            pq.ParquetWriter(folder / "rows.parquet", TRAJECTORIES, compression="zstd", compression_level=3) as rows,
        ):
            while lines := file.readlines(BLOCK_BYTES):
                found = rows_of_lines([line[:-1] for line in lines])
                rows.write_table(found.table)
                aside += [first + row.row for row in found.bad]
                n_rows, first = n_rows + len(found.table), first + len(lines)
        return {"kept": n_rows, "aside": len(aside), "wrong": len(bad.symmetric_difference(aside))}

    return run, _nothing


def day(words: Words) -> Prepared:
    """`raw_logs` of a day whose landing file was imported: its index is there."""
    pa.set_cpu_count(1)
    home, when = Path(tempfile.mkdtemp(prefix="synde-bench-")), date.fromisoformat(words["day"])
    warehouse = Warehouse(home)
    landing = warehouse.path("landing", str(when)) / "bench.jsonl"
    landing.parent.mkdir(parents=True)
    shutil.copy(words["file"], landing)
    day_index(warehouse, when)

    def run() -> dict[str, Any]:
        counts = publish_raw_logs(warehouse, when).counts
        return {"kept": counts["rows_out"], "aside": counts["quarantined"]}

    def tidy() -> None:
        for artefact in (ARTEFACT, QUARANTINE):
            shutil.rmtree(warehouse.path(artefact, str(when)))

    return run, tidy


def _nothing() -> None:
    """The next round writes over what this one wrote."""
