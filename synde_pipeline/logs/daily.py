"""`raw_logs[D]`: landing -> validated, redacted, deduplicated Parquet; bad rows beside it with their reasons."""

from collections.abc import Iterable
from datetime import date

from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import DayLogs, landing_hash, make_private, quarantine_table, read_day
from synde_pipeline.logs.parquet import from_table, rows_of, to_table
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Header, Warehouse, rows_hash

ARTEFACT = "raw_logs"
QUARANTINE = "quarantine"
SUPERSEDED = "superseded"


def publish_raw_logs(warehouse: Warehouse, day: date) -> tuple[Header, DayLogs]:
    """Materialise one day's raw logs; the trajectories come last, so their header means that the day is complete."""
    found = read_day(warehouse, day)
    inputs = {"landing": landing_hash(warehouse, day)}
    counts = found.counts | {
        "successes": sum(item.outcome == "success" for item in found.kept),
        "labelled": sum(item.outcome != "unknown" for item in found.kept),
    }
    bad = quarantine_table("landing", found.quarantined)
    make_private(warehouse.root / LANDING)
    make_private(warehouse.root / QUARANTINE)
    bad_rows = [{**row, "raw": row["raw"].hex()} for row in bad.to_pylist()]
    for artefact, table, rows in (
        (QUARANTINE, bad, bad_rows),
        (SUPERSEDED, to_table(found.superseded), rows_of(found.superseded)),
    ):
        if rows or warehouse.header(artefact, str(day)):
            header = Header(artefact=artefact, key=str(day), content_hash=rows_hash(rows), inputs=inputs)
            warehouse.publish_table(header, table)
    header = Header(
        artefact=ARTEFACT, key=str(day), content_hash=rows_hash(rows_of(found.kept)), inputs=inputs, counts=counts
    )
    return warehouse.publish_table(header, to_table(found.kept)), found


def load_raw_logs(warehouse: Warehouse, day: date) -> list[Trajectory]:
    """Trajectories of one materialised day."""
    return from_table(warehouse.read_table(ARTEFACT, str(day)))


def load_all(warehouse: Warehouse) -> Iterable[Trajectory]:
    """Trajectories of all materialised days, in day order."""
    for key in warehouse.keys(ARTEFACT):
        yield from load_raw_logs(warehouse, date.fromisoformat(key))
