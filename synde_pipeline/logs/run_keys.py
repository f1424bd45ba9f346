"""What labels of other files call the landed runs: `landing/day=D/*.keys`, one `RunKey` a line, private as landing is.

A label may come long after its run; the run's native file is not read again for it.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Self

from synde_pipeline.logs.importers.base import Label
from synde_pipeline.records import LabelSource, Outcome, Trajectory
from synde_pipeline.records.base import Record, UtcTime
from synde_pipeline.storage import write_atomically

_UNSAID = {"outcome": "unknown", "reward": None, "label_source": "none"}


class RunKey(Record):
    """How labels find a landed run, and what its own row says of it."""

    trace_uid: str
    day: date
    """Whose folder holds it."""
    key: str
    """Hash of what `Importer.label_key` calls it, else of its native uid."""
    path: str
    """Its native file, absolute."""
    bare: str
    """Short hash of its content without a label of another file or a rule: read again with one, it is no other run."""
    outcome: Outcome
    reward: float | None
    label_source: LabelSource
    at: UtcTime | None = None
    """When that outcome was said, else the day of its import; None before it is filed."""

    @classmethod
    def of(cls, run: Trajectory, key: str, path: Path, label: Label | None) -> Self:
        """Of a run as its native file was read.

        Args:
            run: as it will be landed.
            key: what labels call it.
            path: the native file.
            label: of another file or of a rule, where the run carries one.
        """
        bare = run.model_copy(update=_UNSAID) if label else run
        return cls(
            trace_uid=run.trace_uid,
            day=run.day,
            key=key_hash(key),
            path=place_of(path),
            bare=bare.content_hash[:16],
            outcome=run.outcome,
            reward=run.reward,
            label_source=run.label_source,
            at=label.at if label else None,
        )


def key_hash(key: str) -> str:
    """A label's key as it is stored: it may be a native id, which nobody needs in clear."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def place_of(path: Path) -> str:
    """A native file's place as it is stored; names that are no UTF-8 lose a sign or two."""
    return str(path.absolute()).encode("utf-8", "replace").decode("utf-8")


def run_keys(landing: Path) -> list[RunKey]:
    """All keys in a landing folder."""
    return [row for path in sorted(landing.glob("day=*/*.keys")) for row in _rows_of(path)]


def keys_of(landing: Path, uids: Collection[str]) -> list[RunKey]:
    """The keys of these runs; of others nothing stays in memory."""
    return [
        RunKey.model_validate_json(line)
        for path in sorted(landing.glob("day=*/*.keys"))
        for line in path.read_bytes().splitlines()
        if json.loads(line)["trace_uid"] in uids
    ]


def remember(landing: Path, name: str, rows: Iterable[RunKey]) -> None:
    """Write the keys of one native file's runs into the folders of their days; known ones again change nothing."""
    by_day: dict[date, set[str]] = {}
    for row in rows:
        by_day.setdefault(row.day, set()).add(row.model_dump_json() + "\n")
    for day, lines in by_day.items():
        data = "".join(sorted(lines)).encode("utf-8")
        write_atomically(landing / f"day={day}" / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.keys", data)


def purge_keys(landing: Path, uids: Collection[str]) -> None:
    """Forget the keys of runs that go; each file is rewritten at once, doing it again changes nothing."""
    for path in sorted(landing.glob("day=*/*.keys")):
        rows = _rows_of(path)
        kept = [row for row in rows if row.trace_uid not in uids]
        if not kept:
            path.unlink()
        elif len(kept) < len(rows):
            write_atomically(path, "".join(row.model_dump_json() + "\n" for row in kept))
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _rows_of(path: Path) -> tuple[RunKey, ...]:
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _read(path: Path, _size: int, _time: int) -> tuple[RunKey, ...]:
    return tuple(RunKey.model_validate_json(line) for line in path.read_bytes().splitlines())
