"""`reflections[D]`: one reflection per trajectory of the day, as Parquet."""

from datetime import date

import pyarrow as pa

from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.records import Reflection, content_hash
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.storage import Header, Warehouse

ARTEFACT = "reflections"

_LESSON = pa.struct(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("kind", "scope", "title", "description", "content", "suspect")
    ]
)
_TAG = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("item_id", "verdict")])

REFLECTIONS = pa.schema(
    [
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("label_source", pa.string(), nullable=False),
        pa.field("effective_day", pa.date32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("shown", pa.list_(pa.string()), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("principle", pa.string(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("error_step", pa.int32()),
        pa.field("error_identification", pa.string(), nullable=False),
        pa.field("root_cause", pa.string(), nullable=False),
        pa.field("correct_approach", pa.string(), nullable=False),
        pa.field("key_insight", pa.string(), nullable=False),
        pa.field("tags", pa.list_(_TAG), nullable=False),
        pa.field("path", pa.list_(pa.string()), nullable=False),
        pa.field("n_tool_errors", pa.int32(), nullable=False),
        pa.field("n_repeated_failures", pa.int32(), nullable=False),
        pa.field("features", pa.list_(pa.string()), nullable=False),
        pa.field("lessons", pa.list_(_LESSON), nullable=False),
    ]
)


def publish_reflections(warehouse: Warehouse, day: date) -> Header:
    """Reflect on each trajectory of a day's raw logs, alone.

    Raises:
        LineageError: the day's raw logs are missing.
    """
    raw = fresh_header(warehouse, RAW_LOGS, str(day), {})
    reflections = [reflect(trajectory) for trajectory in load_raw_logs(warehouse, day)]
    table = pa.Table.from_pylist([item.model_dump() for item in reflections], schema=REFLECTIONS)
    header = Header(
        artefact=ARTEFACT,
        key=str(day),
        content_hash=content_hash([item.model_dump(mode="json") for item in reflections]),
        inputs={RAW_LOGS: raw.content_hash},
        counts={"reflections": len(reflections), "lessons": sum(len(item.lessons) for item in reflections)},
    )
    return warehouse.publish_table(header, table)


def load_reflections(warehouse: Warehouse, day: date) -> list[Reflection]:
    """Reflections of one materialised day."""
    return [Reflection.model_validate(row) for row in warehouse.read_table(ARTEFACT, str(day)).to_pylist()]
