"""The peers' side of `synde bench ingest`. Runs in their environment: nothing of SynDE is imported.

Each is told the columns and their types. With bad lines in the file, those with a switch to go on have it on.
"""

import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]

_TEXTS = ("trace_uid", "task_id", "domain", "source", "model", "system", "scope", "task", "outcome", "label_source")
_STEP_TEXTS = ("state", "reasoning", "tool", "arguments", "result")
_BATCH = 256


def duckdb(words: Words) -> Prepared:
    """`read_json` with explicit columns into `COPY`."""
    import duckdb

    step = ", ".join(
        [
            "index INTEGER, timestamp TIMESTAMPTZ",
            *(f"{name} VARCHAR" for name in _STEP_TEXTS),
            "success BOOLEAN, confidence DOUBLE",
        ]
    )
    columns = dict.fromkeys(_TEXTS, "VARCHAR") | {
        "schema_version": "INTEGER",
        "trial": "INTEGER",
        "day": "DATE",
        "started_at": "TIMESTAMPTZ",
        "ended_at": "TIMESTAMPTZ",
        "shown_memory": "VARCHAR[]",
        "steps": f"STRUCT({step})[]",
        "reward": "DOUBLE",
    }
    said = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    out = _out()
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = true")
    rows = (
        f"read_json('{words['file']}', format = 'newline_delimited', columns = {{{said}}}, "
        f"ignore_errors = {'true' if _bad(words) else 'false'})"
    )
    query = f"COPY (FROM {rows}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)"
    return _job(words, lambda: connection.execute(query).fetchone()[0])  # pyright: ignore[reportOptionalSubscript]


def polars(words: Words) -> Prepared:
    """`scan_ndjson` with a schema into `sink_parquet`; times stay texts, as its reader wants them."""
    import polars as pl  # pyright: ignore[reportMissingImports]

    step = {"index": pl.Int32, "timestamp": pl.String, **dict.fromkeys(_STEP_TEXTS, pl.String)}
    step |= {"success": pl.Boolean, "confidence": pl.Float64}
    schema = dict.fromkeys(_TEXTS, pl.String) | {
        "schema_version": pl.Int32,
        "trial": pl.Int32,
        "day": pl.String,
        "started_at": pl.String,
        "ended_at": pl.String,
        "shown_memory": pl.List(pl.String),
        "steps": pl.List(pl.Struct(step)),
        "reward": pl.Float64,
    }
    out = _out()

    def run() -> int:
        rows = pl.scan_ndjson(words["file"], schema=schema, ignore_errors=bool(_bad(words)))
        rows.sink_parquet(out, compression="zstd", compression_level=3)
        return pl.scan_parquet(out).select(pl.len()).collect().item()

    return _job(words, run)


def pydantic(words: Words) -> Prepared:
    """A model a line, `model_dump`, `Table.from_pylist`: what most people write, and it sets bad lines aside."""
    from datetime import date, datetime
    from typing import Literal

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

    class Step(BaseModel):
        model_config = ConfigDict(extra="forbid")
        index: int = Field(ge=0)
        timestamp: datetime | None = None
        state: str
        reasoning: str
        tool: str
        arguments: str
        result: str
        success: bool | None = None
        confidence: float | None = Field(default=None, ge=0, le=1)

    class Row(BaseModel):
        model_config = ConfigDict(extra="forbid")
        schema_version: int
        trace_uid: str = Field(min_length=3, max_length=200)
        task_id: str
        domain: str
        source: str
        model: str
        trial: int = Field(ge=0)
        day: date
        started_at: datetime | None
        ended_at: datetime | None
        system: str
        scope: str
        shown_memory: list[str]
        task: str = Field(min_length=1)
        steps: list[Step]
        outcome: Literal["success", "failure", "partial", "unknown"]
        reward: float | None
        label_source: Literal["verifier", "human", "judge", "user", "none"]

    pa.set_cpu_count(1)
    time, text = pa.timestamp("us", tz="UTC"), pa.string()
    ends = [("success", pa.bool_()), ("confidence", pa.float64())]
    step = pa.struct([("index", pa.int32()), ("timestamp", time), *((name, text) for name in _STEP_TEXTS), *ends])
    other = {"schema_version": pa.int32(), "trial": pa.int32(), "day": pa.date32(), "reward": pa.float64()}
    other |= {"started_at": time, "ended_at": time, "shown_memory": pa.list_(text), "steps": pa.list_(step)}
    schema = pa.schema([(name, other.get(name, text)) for name in Row.model_fields])
    out = _out()

    def run() -> tuple[int, list[int]]:
        n_rows, aside = 0, []
        with (
            Path(words["file"]).open("rb") as file,
            pq.ParquetWriter(out, schema, compression="zstd", compression_level=3) as rows,
        ):
            numbered = enumerate(file)
            while batch := list(itertools.islice(numbered, _BATCH)):
                good = []
                for number, line in batch:
                    try:
                        good.append(Row.model_validate_json(line).model_dump())
                    except ValidationError:
                        aside.append(number)
                rows.write_table(pa.Table.from_pylist(good, schema=schema))
                n_rows += len(good)
        return n_rows, aside

    return _job(words, run)


def pandas(words: Words) -> Prepared:
    """`read_json(lines=True)` into `to_parquet`."""
    import pandas as pd

    out = _out()

    def run() -> int:
        rows = pd.read_json(words["file"], lines=True)
        rows.to_parquet(out, compression="zstd", compression_level=3)
        return len(rows)

    return _job(words, run)


def _out() -> str:
    return str(Path(tempfile.mkdtemp(prefix="synde-bench-")) / "rows.parquet")


def _bad(words: Words) -> set[int]:
    return set(json.loads(Path(words["bad"]).read_text("utf-8")))


def _job(words: Words, read: Callable[[], int | tuple[int, list[int]]]) -> Prepared:
    """One round: rows kept, lines set aside, and where that is not what is bad; or the error that ended it."""
    bad = _bad(words)

    def run() -> dict[str, Any]:
        try:
            found = read()
        except Exception as error:  # noqa: BLE001 - that it stops is what is reported
            return {"kept": 0, "aside": 0, "wrong": len(bad), "stopped": type(error).__name__}
        n_rows, aside = found if isinstance(found, tuple) else (found, [])
        return {"kept": n_rows, "aside": len(aside), "wrong": len(bad.symmetric_difference(aside))}

    return run, lambda: None
