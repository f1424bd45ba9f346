"""Landing: one private folder a day of JSON lines, and the pure function that turns a day into raw logs.

A landing file is named by the hash of what it was made from, so importing a file again changes nothing. Beside each
lies an index (`.ids`) of hashed uids: the same `trace_uid` on a later day is recognised without reading old logs.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from synde_pipeline.logs.parquet import QUARANTINE
from synde_pipeline.logs.reading import BadRow, FileImport, bad_row, file_hash
from synde_pipeline.logs.redact import redact_trajectory
from synde_pipeline.records import Trajectory, content_hash
from synde_pipeline.storage import Header, Warehouse, write_atomically

ARTEFACT = "landing"


@dataclass
class Filed:
    """What filing one native file did."""

    n_new: int = 0
    n_duplicates: int = 0
    bad: list[BadRow] = field(default_factory=list)
    days: set[date] = field(default_factory=set)


def file_import(warehouse: Warehouse, found: FileImport, start_day: date, today: date) -> Filed:
    """File a native file's trajectories under their days, and its bad rows in quarantine."""
    filed = Filed(bad=list(found.bad))
    name = file_hash(found.path)[:16]
    by_day: dict[date, list[Trajectory]] = {}
    for trajectory in found.trajectories:
        if start_day <= trajectory.day <= today + timedelta(days=1):
            by_day.setdefault(trajectory.day, []).append(trajectory)
        else:
            reason = f"day {trajectory.day} is outside {start_day}..{today}; set SYNDE_START_DAY, or check the clock"
            filed.bad.append(BadRow(-1, reason, trajectory.model_dump_json().encode("utf-8")))
    for day, trajectories in by_day.items():
        known = _index(warehouse, day, skip=name)
        new = sum(known.get(_uid(item.trace_uid)) != item.content_hash[:16] for item in trajectories)
        path = warehouse.path(ARTEFACT, str(day)) / f"{name}.jsonl"
        if path.exists():
            new = 0
        else:
            _private(warehouse, path.parent)
            # The rule may have filed this very file under other days before: the name carries day-independent content.
            write_atomically(path.with_suffix(".ids"), _index_text(trajectories))
            write_atomically(path, "".join(item.model_dump_json() + "\n" for item in trajectories))
        filed.n_new += new
        filed.n_duplicates += len(trajectories) - new
        filed.days.add(day)
    if filed.bad:
        _quarantine(warehouse, found.path.name, name, filed.bad)
    return filed


def _private(warehouse: Warehouse, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(warehouse.root / ARTEFACT, 0o700)  # noqa: PTH101 - landing may hold secrets (law 9)


def _quarantine(warehouse: Warehouse, file: str, name: str, bad: list[BadRow]) -> None:
    folder = warehouse.root / ARTEFACT / "quarantine"
    _private(warehouse, folder)
    rows = quarantine_table(file, bad)
    header = Header(
        artefact=f"{ARTEFACT}/quarantine", key=f"file-{name}", content_hash=name, counts={"quarantined": len(bad)}
    )
    warehouse.publish_table(header, rows)


def quarantine_table(file: str, bad: Iterable[BadRow]) -> pa.Table:
    """Bad rows as a table: file, row number, reason, raw bytes."""
    rows = [{"file": file, "row": item.row, "reason": item.reason, "raw": item.raw} for item in bad]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def _uid(trace_uid: str) -> str:
    return hashlib.sha256(trace_uid.encode("utf-8")).hexdigest()[:16]


def _index_text(trajectories: Iterable[Trajectory]) -> str:
    return "".join(f"{_uid(item.trace_uid)} {item.content_hash[:16]}\n" for item in trajectories)


def landing_days(warehouse: Warehouse) -> list[date]:
    """Days with landing files, sorted."""
    folders = (warehouse.root / ARTEFACT).glob("day=*")
    return sorted(date.fromisoformat(folder.name[4:]) for folder in folders if any(folder.glob("*.jsonl")))


def landing_hash(warehouse: Warehouse, day: date) -> str:
    """Fingerprint of what raw logs of a day are made from: the day's files, and the uids of earlier days among them.

    A hash of names and sizes is enough to notice a change: our own files are named by content, others grow.
    """
    files = [(path.name, path.stat().st_size) for path in _files(warehouse, day)]
    mine = _index(warehouse, day)
    earlier = {uid: value for uid, value in earlier_uids(warehouse, day).items() if uid in mine}
    return content_hash({"files": files, "earlier": earlier})


def _files(warehouse: Warehouse, day: date) -> list[Path]:
    return sorted(warehouse.path(ARTEFACT, str(day)).glob("*.jsonl"))


def _index(warehouse: Warehouse, day: date, skip: str = "") -> dict[str, str]:
    """Hashed uid -> short content hash of a day; files dropped in by others get their index here."""
    index: dict[str, str] = {}
    for path in _files(warehouse, day):
        if path.stem == skip:
            continue
        ids = path.with_suffix(".ids")
        if ids.exists() and ids.stat().st_mtime_ns >= path.stat().st_mtime_ns - 10**9:
            lines = ids.read_text("utf-8").splitlines()
            index |= dict(line.split(" ") for line in lines)
        else:
            good = [item for item in map(_parse, path.read_bytes().splitlines()) if isinstance(item, Trajectory)]
            write_atomically(ids, _index_text(good))
            index |= {_uid(item.trace_uid): item.content_hash[:16] for item in good}
    return index


def earlier_uids(warehouse: Warehouse, day: date) -> dict[str, str]:
    """Hashed uids of all days before `day`, with the content hash of their first day."""
    earlier: dict[str, str] = {}
    for before in landing_days(warehouse):
        if before < day:
            earlier = _index(warehouse, before) | earlier
    return earlier


@dataclass
class DayLogs:
    """Raw logs of one day. n_in = kept + duplicates + superseded + quarantined + pending (law 5)."""

    kept: list[Trajectory] = field(default_factory=list)
    superseded: list[Trajectory] = field(default_factory=list)
    quarantined: list[BadRow] = field(default_factory=list)
    n_in: int = 0
    n_duplicates: int = 0
    n_pending: int = 0
    n_redacted: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The ledger that must add up, plus how many secrets were replaced."""
        return {
            "rows_in": self.n_in,
            "rows_out": len(self.kept),
            "duplicates": self.n_duplicates,
            "superseded": len(self.superseded),
            "quarantined": len(self.quarantined),
            "pending": self.n_pending,
            "redacted": self.n_redacted,
        }


def read_day(warehouse: Warehouse, day: date) -> DayLogs:
    """Read a day's landing files and validate them."""
    return validate_day([path.read_bytes() for path in _files(warehouse, day)], day, earlier_uids(warehouse, day))


def validate_day(files: Iterable[bytes], day: date, earlier: dict[str, str]) -> DayLogs:
    """Landing lines -> the day's raw logs: validated, deduplicated, redacted, in an order that files do not set.

    Of one `trace_uid` with differing contents the latest end wins, then the larger hash; a uid that an earlier day
    holds stays there.
    """
    result = DayLogs()
    best: dict[str, Trajectory] = {}
    for data in files:
        lines = data.split(b"\n")
        if lines.pop().strip():  # a growing file: its last line has no end yet
            result.n_in += 1
            result.n_pending += 1
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            result.n_in += 1
            parsed = _parse(line, number)
            if isinstance(parsed, BadRow):
                result.quarantined.append(parsed)
            elif parsed.day != day:
                reason = f"row says day {parsed.day}, but lies in the landing folder of {day}"
                result.quarantined.append(BadRow(number, reason, line))
            else:
                _admit(result, best, parsed, earlier)
    for trajectory in sorted(best.values(), key=lambda item: item.trace_uid):
        clean, n = redact_trajectory(trajectory)
        result.kept.append(clean)
        result.n_redacted += n
    result.superseded = [redact_trajectory(item)[0] for item in sorted(result.superseded, key=lambda i: i.content_hash)]
    return result


def _parse(line: bytes, number: int = 0) -> Trajectory | BadRow:
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError as error:
        return bad_row(number, line, error)


def _admit(result: DayLogs, best: dict[str, Trajectory], new: Trajectory, earlier: dict[str, str]) -> None:
    first = earlier.get(_uid(new.trace_uid))
    held = best.get(new.trace_uid)
    if first == new.content_hash[:16] or (held and held.content_hash == new.content_hash):
        result.n_duplicates += 1
    elif first is not None:
        result.superseded.append(new)
    elif held is None:
        best[new.trace_uid] = new
    else:
        loser, winner = sorted((held, new), key=_recency)
        best[new.trace_uid] = winner
        result.superseded.append(loser)


def _recency(trajectory: Trajectory) -> tuple[float, str]:
    end = trajectory.ended_at or trajectory.started_at
    return (end.timestamp() if end else float("-inf"), trajectory.content_hash)
