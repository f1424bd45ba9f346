"""Landing: one private folder a day of JSON lines. What becomes of a day's lines is in `validate`.

A landing file is named by the hashes of the native file (of a long one: of its block) and of its rows, so importing a
file again changes nothing.
Beside each lies an index (`.ids`) of hashed uids: the same `trace_uid` on a later day is recognised without reading
old logs.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from synde_pipeline.errors import InputError
from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.parquet import QUARANTINE
from synde_pipeline.logs.rows import parse_line
from synde_pipeline.logs.run_keys import RunKey, keys_of, remember
from synde_pipeline.logs.runs import FileImport
from synde_pipeline.logs.tombstones import REASON, refuse_while_removing, tombstones
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Header, Warehouse, write_atomically

ARTEFACT = "landing"
IMPORT_QUARANTINE = f"{ARTEFACT}/quarantine"


@dataclass
class Filed:
    """What filing one native file did."""

    n_new: int = 0
    n_duplicates: int = 0
    bad: list[BadRow] = field(default_factory=list)
    days: set[date] = field(default_factory=set)


def file_import(warehouse: Warehouse, found: FileImport, start_day: date, today: date) -> Filed:
    """File a native file's trajectories, or those of one block of it, under their days, and its bad rows in quarantine.

    Raises:
        RemovalError: a removal is under way.
    """
    refuse_while_removing(warehouse)
    filed = Filed(bad=list(found.bad))
    name = found.digest[:16]
    by_day: dict[date, list[Trajectory]] = {}
    stones = tombstones(warehouse)
    for trajectory in found.trajectories:
        if stones.holds(trajectory.trace_uid):
            filed.bad.append(BadRow(-1, REASON, b""))
        elif start_day <= trajectory.day <= today + timedelta(days=1):
            by_day.setdefault(trajectory.day, []).append(trajectory)
        else:
            reason = f"day {trajectory.day} is outside {start_day}..{today}; set SYNDE_START_DAY, or check the clock"
            filed.bad.append(BadRow(-1, reason, trajectory.model_dump_json().encode("utf-8")))
    mine = {one.trace_uid for trajectories in by_day.values() for one in trajectories}
    known = _all_uids(warehouse, landing_days(warehouse), {uid_hash(uid) for uid in mine})
    keys = keys_of(warehouse.root / ARTEFACT, mine) if found.keys else []
    # Landing expires: keys that outlive their rows make no run known.
    bare = {(row.trace_uid, row.bare) for row in keys if uid_hash(row.trace_uid) in known}
    for day, trajectories in by_day.items():
        # Of a file that grew only what is new is filed again, and no run because of a label that came to it.
        each = {(one.trace_uid, one.content_hash): one for one in trajectories}
        new = {
            (uid_hash(uid), value[:16]): one
            for (uid, value), one in each.items()
            if value[:16] not in known.get(uid_hash(uid), ())
            and not (value in found.keys and (uid, found.keys[value].bare) in bare)
        }
        filed.n_new, filed.n_duplicates = filed.n_new + len(new), filed.n_duplicates + len(trajectories) - len(new)
        if new:
            _file_day(warehouse, day, name, new)
        filed.days.add(day)
        here = [found.keys[value] for _, value in each if value in found.keys]
        _remember(warehouse, name, [row for row in here if (row.trace_uid, row.bare) not in bare], today)
    _quarantine(warehouse, found.path.name, name, filed.bad)
    return filed


def _file_day(warehouse: Warehouse, day: date, name: str, new: Mapping[tuple[str, str], Trajectory]) -> None:
    """Write one landing file, and its index, unless it is there."""
    data = "".join(item.model_dump_json() + "\n" for item in new.values()).encode("utf-8")
    # Another day rule may have filed other rows of this very native file here: the rows are part of the name.
    path = warehouse.path(ARTEFACT, str(day)) / f"{name}-{_digest(data)}.jsonl"
    if not path.exists():
        make_private(warehouse.root / ARTEFACT)
        write_atomically(path, data)
        _write_index(path, data, new)


def _remember(warehouse: Warehouse, name: str, rows: list[RunKey], today: date) -> None:
    midnight = datetime.combine(today, time(), UTC)
    remember(warehouse.root / ARTEFACT, name, [row.model_copy(update={"at": row.at or midnight}) for row in rows])


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter: it may hold secrets (law 9)."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _quarantine(warehouse: Warehouse, file: str, name: str, bad: list[BadRow]) -> None:
    key = f"file-{name}"
    if not bad and warehouse.header(IMPORT_QUARANTINE, key) is None:
        return
    make_private(warehouse.root / ARTEFACT)
    header = Header(artefact=IMPORT_QUARANTINE, key=key, content_hash=name, counts={"quarantined": len(bad)})
    warehouse.publish_table(header, quarantine_table(file, bad))


def quarantine_table(file: str, bad: Iterable[BadRow]) -> pa.Table:
    """Bad rows as a table: file, row number, reason, raw bytes."""
    file = file.encode("utf-8", "replace").decode("utf-8")  # a file name may be no UTF-8
    rows = [{"file": file, "row": item.row, "reason": item.reason, "raw": item.raw} for item in bad]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def uid_hash(trace_uid: str) -> str:
    """What an index calls a uid."""
    return _digest(trace_uid.encode("utf-8"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def landing_days(warehouse: Warehouse) -> list[date]:
    """Days with landing files, sorted.

    Raises:
        InputError: a folder that somebody else made is named by no day.
    """
    folders = [folder for folder in (warehouse.root / ARTEFACT).glob("day=*") if any(folder.glob("*.jsonl"))]
    try:
        return sorted(date.fromisoformat(folder.name[4:]) for folder in folders)
    except ValueError as error:
        raise InputError(
            f"a folder in {warehouse.root / ARTEFACT} is named by no day ({error})",
            expected="day=YYYY-MM-DD",
            remedy="rename it",
        ) from error


def has_landing(warehouse: Warehouse, day: date) -> bool:
    """Whether landing holds files of a day, be it labels alone."""
    return any(warehouse.path(ARTEFACT, str(day)).glob("*.jsonl"))


def landing_files(warehouse: Warehouse, day: date) -> list[Path]:
    """A day's files of trajectories, in the order of their names."""
    files = warehouse.path(ARTEFACT, str(day)).glob("*.jsonl")
    return sorted(path for path in files if not is_label_file(path))


def is_label_file(path: Path) -> bool:
    """Whether a landing file holds labels of runs; see `labels`."""
    return path.name.startswith("labels-")


Uids = dict[str, set[str]]
"""Hashed uid -> short hashes of the contents that it was landed with."""


def day_index(warehouse: Warehouse, day: date, wanted: Collection[str] | None = None) -> Uids:
    """Uids in a day's files; only the wanted ones, where some are named."""
    index: Uids = {}
    for path in landing_files(warehouse, day):
        for uid, values in file_index(path, day)[1].items():
            if wanted is None or uid in wanted:
                index.setdefault(uid, set()).update(values)
    return index


def file_index(path: Path, day: date) -> tuple[str, Uids]:
    """Digest and uids of one landing file; files dropped in or appended to by others are indexed here."""
    ids = path.with_suffix(".ids")
    if ids.exists() and ids.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        head, *rows = ids.read_text("utf-8").splitlines()
        size, digest = head.split(" ")
        # The size too: a writer may append between our reading of the file and our writing of its index.
        if int(size) == path.stat().st_size:
            return digest, _grouped(row.split(" ") for row in rows)
    data = path.read_bytes()
    parsed = (parse_line(line) for line in data.split(b"\n")[:-1] if line.strip())
    good = (item for item in parsed if isinstance(item, Trajectory) and item.day == day)
    rows = [(uid_hash(item.trace_uid), item.content_hash[:16]) for item in good]
    _write_index(path, data, rows)
    return _digest(data), _grouped(rows)


def _write_index(path: Path, data: bytes, rows: Iterable[tuple[str, str]]) -> None:
    lines = [f"{len(data)} {_digest(data)}", *(" ".join(row) for row in rows)]
    write_atomically(path.with_suffix(".ids"), "\n".join(lines) + "\n")


def _grouped(rows: Iterable[Sequence[str]]) -> Uids:
    index: Uids = {}
    for uid, value in rows:
        index.setdefault(uid, set()).add(value)
    return index


def earlier_uids(warehouse: Warehouse, day: date) -> Uids:
    """Uids of all days before `day`, with every content they were landed with."""
    return _all_uids(warehouse, [before for before in landing_days(warehouse) if before < day])


def _all_uids(warehouse: Warehouse, days: Iterable[date], wanted: Collection[str] | None = None) -> Uids:
    known: Uids = {}
    for day in days:
        for uid, values in day_index(warehouse, day, wanted).items():
            known.setdefault(uid, set()).update(values)
    return known
