"""Rewriting what history is made from: landing in place, and the daily tables of the days that held what goes."""

import fcntl
import json
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import QUARANTINE, SUPERSEDED, load_raw_logs, publish_raw_logs
from synde_pipeline.logs.joins import purge_joins
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import IMPORT_QUARANTINE, has_landing
from synde_pipeline.logs.parquet import from_table, table_hash, to_table
from synde_pipeline.logs.validate import accounted
from synde_pipeline.memory.daily import DELTAS, MEMORY, publish_deltas, publish_memory
from synde_pipeline.memory.edits import edits_hash, every_edit, purge_edits
from synde_pipeline.memory.store import replace_all
from synde_pipeline.records import content_hash
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import reflect_again
from synde_pipeline.removal.request import landed, parsed
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline.training.buffer import SOURCE
from synde_pipeline.training.examples import EXAMPLES

DAILY = (RAW_LOGS, QUARANTINE, SUPERSEDED, REFLECTIONS, DELTAS, MEMORY, SOURCE)


@dataclass(frozen=True)
class Gone:
    """What goes."""

    uids: frozenset[str]
    day: date | None = None
    """A day whose landing and quarantine go as a whole."""

    def names(self, raw: bytes) -> bool:
        """Whether raw bytes of a log name one of the trajectories."""
        return any(_quoted(uid) in raw for uid in self.uids)


def _quoted(uid: str) -> bytes:
    return json.dumps(uid, ensure_ascii=False).encode("utf-8")


# -- landing and quarantine, in place -------------------------------------------------------------------------------


def purge_landing(warehouse: Warehouse, gone: Gone) -> int:
    """Take the trajectories, and what was said of them, out of landing and the quarantine of imports; counts rows.

    Each file is rewritten at once under the lock that appending agents hold; doing it again changes nothing.
    """
    n = purge_joins(warehouse, gone.uids, gone.day)
    for path in sorted((warehouse.root / LANDING).glob("day=*/*.jsonl")):
        n += _purge_file(path, gone)
    for key in warehouse.keys(IMPORT_QUARANTINE):
        n += _purge_quarantine(warehouse, IMPORT_QUARANTINE, key, gone)
    return n


def _purge_file(path: Path, gone: Gone) -> int:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().split(b"\n")
        if gone.day is not None and path.parent.name == f"day={gone.day}":
            kept = [b""]
        else:
            kept = [line for line in lines if not _goes(line, gone)]
        if len(kept) == len(lines):
            return 0
        if any(line.strip() for line in kept):
            write_atomically(path, b"\n".join(kept))
        else:
            path.unlink()
        path.with_suffix(".ids").unlink(missing_ok=True)  # written anew by the next reader
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
    return len(lines) - len(kept)


def _goes(line: bytes, gone: Gone) -> bool:
    record = parsed(line)
    return record["trace_uid"] in gone.uids if record else gone.names(line)


def _purge_quarantine(warehouse: Warehouse, artefact: str, key: str, gone: Gone) -> int:
    header, table = warehouse.header(artefact, key), warehouse.read_table(artefact, key)
    assert header is not None  # noqa: S101 - it was read
    kept = [row for row in table.to_pylist() if not gone.names(row["raw"])]
    if gone.day is not None and key == str(gone.day):
        kept = []
    n = len(table) - len(kept)
    if n:
        counts = {name: len(kept) if name == "quarantined" else value for name, value in header.counts.items()}
        left = pa.Table.from_pylist(kept, schema=table.schema.remove_metadata())
        hashed = table_hash(left) if artefact == QUARANTINE else header.content_hash
        warehouse.publish_table(header.model_copy(update={"counts": counts, "content_hash": hashed}), left)
    return n


# -- the daily tables -----------------------------------------------------------------------------------------------


def affected_days(warehouse: Warehouse, gone: Gone) -> list[str]:
    """Materialised days that something that goes arrived in, be it as a duplicate."""
    found = {day for uid, _, day in landed(warehouse) if uid in gone.uids or day == str(gone.day)}
    found |= {str(edit.day) for edit in every_edit(warehouse) if edit.trace_uid in gone.uids}
    found = (found | {str(gone.day)}) & set(warehouse.keys(RAW_LOGS))
    for artefact in (RAW_LOGS, SUPERSEDED, SOURCE):
        for key in warehouse.keys(artefact):
            table = warehouse.read_table(artefact, key)
            rows = table["trace_uid"] if artefact != SOURCE else table["metadata"]
            if gone.uids & {row["trajectory_id"] if artefact == SOURCE else row for row in rows.to_pylist()}:
                found.add(key)
    for key in warehouse.keys(QUARANTINE):
        if any(gone.names(row["raw"]) for row in warehouse.read_table(QUARANTINE, key).to_pylist()):
            found.add(key)
    return sorted(found)


def rewrite_days(warehouse: Warehouse, days: Iterable[str], gone: Gone, config: MemoryConfig) -> None:
    """Make the daily tables of some days again without what goes, and the memory's store from nothing.

    Each row of each table stems from one trajectory alone, so taking rows out is making the table anew. A day of which
    nothing is left was never there.
    """
    days = list(days)
    purge_edits(warehouse, gone.uids)
    untouched = [key for key in warehouse.keys(DELTAS) if key not in days and warehouse.header(MEMORY, key)]
    replace_all(warehouse, [warehouse.read_table(DELTAS, key) for key in untouched])
    for key in days:
        _rewrite_day(warehouse, key, gone, config)


def _rewrite_day(warehouse: Warehouse, key: str, gone: Gone, config: MemoryConfig) -> None:
    there = [name for name in DAILY if warehouse.header(name, key)]
    day = date.fromisoformat(key)
    _rewrite_raw_logs(warehouse, day, gone)
    has_edits = bool(edits_hash(warehouse, day))
    if not (load_raw_logs(warehouse, day) or has_landing(warehouse, day) or _rows(warehouse, key) or has_edits):
        for name in DAILY:
            shutil.rmtree(warehouse.path(name, key), ignore_errors=True)
        return
    if REFLECTIONS in there:
        reflect_again(warehouse, day)
    if SOURCE in there:
        _rewrite_examples(warehouse, key, gone.uids)
    if DELTAS in there:
        publish_deltas(warehouse, day, config)
    if MEMORY in there:
        (warehouse.path(MEMORY, key) / "current.json").unlink()  # its rows are not in the new store yet
        publish_memory(warehouse, day)


def _rows(warehouse: Warehouse, key: str) -> int:
    return sum(len(warehouse.read_table(name, key)) for name in (QUARANTINE, SUPERSEDED) if warehouse.header(name, key))


def _rewrite_raw_logs(warehouse: Warehouse, day: date, gone: Gone) -> None:
    key = str(day)
    header = warehouse.header(RAW_LOGS, key)
    if warehouse.header(QUARANTINE, key):
        _purge_quarantine(warehouse, QUARANTINE, key, gone)
    if has_landing(warehouse, day):
        publish_raw_logs(warehouse, day)
        return
    assert header is not None  # noqa: S101 - affected days have raw logs
    kept = [item for item in load_raw_logs(warehouse, day) if item.trace_uid not in gone.uids]
    lost = []
    if warehouse.header(SUPERSEDED, key):
        superseded = from_table(warehouse.read_table(SUPERSEDED, key))
        lost = [item for item in superseded if item.trace_uid not in gone.uids]
        table = to_table(lost)
        old = warehouse.header(SUPERSEDED, key)
        assert old is not None  # noqa: S101 - just seen
        warehouse.publish_table(old.model_copy(update={"content_hash": table_hash(table)}), table)
    counts = dict(header.counts) | {
        "rows_out": len(kept),
        "superseded": len(lost),
        "quarantined": len(warehouse.read_table(QUARANTINE, key)) if warehouse.header(QUARANTINE, key) else 0,
        "successes": sum(item.outcome == "success" for item in kept),
        "labelled": sum(item.outcome != "unknown" for item in kept),
    }
    counts["rows_in"] = accounted(counts)
    table = to_table(kept)
    warehouse.publish_table(header.model_copy(update={"content_hash": table_hash(table), "counts": counts}), table)


def _rewrite_examples(warehouse: Warehouse, key: str, uids: Collection[str]) -> None:
    header, reflections = warehouse.header(SOURCE, key), warehouse.header(REFLECTIONS, key)
    assert header is not None  # noqa: S101 - the caller saw both
    assert reflections is not None  # noqa: S101
    rows = warehouse.read_table(SOURCE, key).to_pylist()
    kept = [row for row in rows if row["metadata"]["trajectory_id"] not in uids]
    with_signal = sum(row["metadata"]["contrastive_weight"] > 0 for row in kept)
    changed = {
        "content_hash": content_hash(kept),
        "inputs": {REFLECTIONS: reflections.content_hash, RAW_LOGS: reflections.inputs[RAW_LOGS]},
        "counts": {"examples": len(kept), "with_signal": with_signal},
    }
    warehouse.publish_table(header.model_copy(update=changed), pa.Table.from_pylist(kept, schema=EXAMPLES))
