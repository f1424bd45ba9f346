"""What `synde status` says: counts of rows by DuckDB, the rest from headers."""

from datetime import date
from typing import Any

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.due import due_cycles
from synde_pipeline.evaluation.query import sql
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import QUARANTINE, SUPERSEDED
from synde_pipeline.logs.joins import waiting
from synde_pipeline.logs.labels import labels_in
from synde_pipeline.logs.landing import IMPORT_QUARANTINE, day_index, landing_days, uid_hash
from synde_pipeline.memory.banks import counts_as_of
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import champion
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import stale_reflections
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import SOURCE as EXAMPLES
from synde_pipeline.training.cycles import cycles


def status(settings: Settings) -> dict[str, Any]:
    """One object that says what is in the warehouse; keys are stable (design.md)."""
    warehouse = Warehouse(settings.warehouse)
    finished = [cycle for cycle in cycles(warehouse) if warehouse.header(REPORTS, cycle.key)]
    latest = warehouse.folder(REPORTS, finished[-1].key) / "report.html" if finished else None
    base = warehouse.header(BASE, "")
    return {
        "trajectories": _count(warehouse, RAW_LOGS),
        "successes": _count(warehouse, RAW_LOGS, "outcome = 'success'"),
        "labelled": _count(warehouse, RAW_LOGS, "outcome <> 'unknown'"),
        **_labels(warehouse),
        "quarantined": _count(warehouse, QUARANTINE) + _quarantined_on_import(warehouse),
        "superseded": _count(warehouse, SUPERSEDED),
        "reflections": _count(warehouse, REFLECTIONS),
        "stale_reflections": len(stale_reflections(warehouse, settings)),
        "memory_items": counts_as_of(warehouse, settings.memory, [date.max])[date.max]["active"],
        "examples": _count(warehouse, EXAMPLES),
        "cycles": len(cycles(warehouse)),
        "cycles_due": len(due_cycles(warehouse)),
        "adapters": len(warehouse.keys(ADAPTERS)),
        "models": len(warehouse.keys(MERGED)),
        "base": base.info["name"] if base else None,
        "champion": {domain: found.cycle for domain, found in champion(warehouse).domains.items()} or None,
        "latest_report": str(latest.resolve()) if latest else None,
    }


def _labels(warehouse: Warehouse) -> dict[str, int]:
    """Labels that wait for their runs, and those that wait in vain: without landing no raw logs are made again."""
    labels, days = labels_in(warehouse), landing_days(warehouse)
    homeless = labels.last.keys() - {uid for day in days for uid in day_index(warehouse, day)}
    carried: dict[str, str] = {}
    for key in warehouse.keys(RAW_LOGS) if homeless else ():
        for run in warehouse.read_table(RAW_LOGS, key).select(["trace_uid", "outcome"]).to_pylist():
            carried[uid_hash(run["trace_uid"])] = run["outcome"]
    too_late = [uid for uid in homeless & carried.keys() if carried[uid] != labels.last[uid].outcome]
    return {
        "labels_waiting": waiting(warehouse) + len(homeless - carried.keys()),
        "labels_too_late": len(too_late),
    }


def _count(warehouse: Warehouse, table: str, condition: str = "true") -> int:
    if not warehouse.keys(table):
        return 0
    found = sql(warehouse, f"select count(*) as n from {table} where {condition}")  # noqa: S608 - our own words
    return int(found["n"].item())


def _quarantined_on_import(warehouse: Warehouse) -> int:
    headers = (warehouse.header(IMPORT_QUARANTINE, key) for key in warehouse.keys(IMPORT_QUARANTINE))
    return sum(header.counts["quarantined"] for header in headers if header)
