"""`raw_logs[D]`: landing -> validated, redacted, deduplicated Parquet; bad rows beside it with their reasons."""

from collections.abc import Iterable
from datetime import date

from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import has_landing, make_private, quarantine_table
from synde_pipeline.logs.parquet import from_table, table_hash, to_table
from synde_pipeline.logs.validate import landing_hash, read_day
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Header, Warehouse

ARTEFACT = "raw_logs"
QUARANTINE = "quarantine"
SUPERSEDED = "superseded"


def publish_raw_logs(warehouse: Warehouse, day: date) -> Header:
    """Materialise one day's raw logs; the trajectories come last, so their header means that the day is complete.

    Landing expires: a day that was materialised and has no landing files any more stays as it is.
    """
    held = warehouse.header(ARTEFACT, str(day))
    if held is not None and not has_landing(warehouse, day):
        return held
    found = read_day(warehouse, day)
    inputs = {"landing": landing_hash(warehouse, day)}
    make_private(warehouse.root / LANDING)
    make_private(warehouse.root / QUARANTINE)
    bad = quarantine_table("landing", found.quarantined)
    lost = to_table([*found.superseded, *found.relabelled])
    for artefact, table in ((QUARANTINE, bad), (SUPERSEDED, lost)):
        if len(table) or warehouse.header(artefact, str(day)):
            header = Header(artefact=artefact, key=str(day), content_hash=table_hash(table), inputs=inputs)
            warehouse.publish_table(header, table)
    outcomes = found.table["outcome"].to_pylist()
    counts = found.counts | {
        "successes": outcomes.count("success"),
        "labelled": len(outcomes) - outcomes.count("unknown"),
    }
    header = Header(artefact=ARTEFACT, key=str(day), content_hash=table_hash(found.table), inputs=inputs, counts=counts)
    return warehouse.publish_table(header, found.table)


def is_current(warehouse: Warehouse, day: date) -> bool:
    """Whether a day's raw logs were made from what landing holds now; a day whose landing expired is."""
    held = warehouse.header(ARTEFACT, str(day))
    if held is None:
        return False
    return not has_landing(warehouse, day) or held.inputs["landing"] == landing_hash(warehouse, day)


def load_raw_logs(warehouse: Warehouse, day: date) -> list[Trajectory]:
    """Trajectories of one materialised day."""
    return from_table(warehouse.read_table(ARTEFACT, str(day)))


def load_all(warehouse: Warehouse) -> Iterable[Trajectory]:
    """Trajectories of all materialised days, in day order; of a uid that two days hold, the first one's."""
    seen: set[str] = set()
    for key in warehouse.keys(ARTEFACT):
        for trajectory in load_raw_logs(warehouse, date.fromisoformat(key)):
            if trajectory.trace_uid not in seen:
                seen.add(trajectory.trace_uid)
                yield trajectory
