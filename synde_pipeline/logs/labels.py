"""Labels that come later than their runs: `landing/day=D/labels-*.jsonl`, one `LabelRow` a line.

A run is known from the day of its last label on (its effective day): it lies in that day's raw logs, and in its own
day's no more, so that whatever is made from days sees nothing early. Of several labels the last one by `at` counts.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.landing import ARTEFACT, earlier_uids, is_label_file, make_private, uid_hash
from synde_pipeline.logs.rows import bad_row
from synde_pipeline.logs.tombstones import refuse_while_removing, tombstones
from synde_pipeline.records import LabelSource, Trajectory, content_hash
from synde_pipeline.records.base import Record, UtcTime
from synde_pipeline.storage import Warehouse, write_atomically


class LabelRow(Record):
    """What became of a run, said later."""

    trace_uid: str = Field(min_length=3, max_length=200)
    outcome: Literal["success", "failure", "partial"]
    reward: float | None = None
    label_source: LabelSource
    at: UtcTime
    """When it was said; its UTC date is the day of the folder that it lies in."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label_source == "none":
            raise ValueError("label_source is 'none': a label comes from somewhere")
        return self

    @property
    def day(self) -> date:
        """From which day on it is known."""
        return self.at.date()

    @property
    def hash(self) -> str:
        """Of all that it says."""
        return content_hash(self.model_dump(mode="json"))

    def on(self, run: Trajectory) -> Trajectory:
        """The run with this label, known from the later of both days on."""
        told = {"outcome": self.outcome, "reward": self.reward, "label_source": self.label_source}
        return run.model_copy(update={**told, "day": max(run.day, self.day)})


@dataclass(frozen=True)
class Labels:
    """All labels of a warehouse."""

    last: Mapping[str, LabelRow] = field(default_factory=dict)
    """Hashed uid -> the label that counts."""
    all: Mapping[str, tuple[LabelRow, ...]] = field(default_factory=dict)
    """Hashed uid -> every label of it, the one that counts last."""
    n_rows: Mapping[date, int] = field(default_factory=dict)
    """Day -> label rows in its folder, good and bad."""
    bad: Mapping[date, tuple[BadRow, ...]] = field(default_factory=dict)
    """Day -> rows that are no label."""

    def coming(self, day: date) -> dict[str, LabelRow]:
        """Labels of a day that count, by hashed uid."""
        return {uid: label for uid, label in self.last.items() if label.day == day}


def file_labels(warehouse: Warehouse, rows: Iterable[LabelRow]) -> int:
    """Write labels into the folders of their days; the same labels again change nothing. Returns how many.

    Raises:
        RemovalError: a removal is under way.
    """
    refuse_while_removing(warehouse)
    stones, by_day = tombstones(warehouse), dict[date, list[LabelRow]]()
    for row in rows:
        if not stones.holds(row.trace_uid):
            by_day.setdefault(row.day, []).append(row)
    for day, said in by_day.items():
        data = "".join(sorted({row.model_dump_json() + "\n" for row in said})).encode("utf-8")
        make_private(warehouse.root / ARTEFACT)
        path = warehouse.path(ARTEFACT, str(day)) / f"labels-{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
        if not path.exists():
            write_atomically(path, data)
    return sum(map(len, by_day.values()))


def labels_in(warehouse: Warehouse) -> Labels:
    """All labels in landing; read again only when a file changed."""
    files = [path for path in sorted((warehouse.root / ARTEFACT).glob("day=*/*.jsonl")) if is_label_file(path)]
    stamps = [(path, stat.st_size, stat.st_mtime_ns) for path in files for stat in [path.stat()]]
    return _read(tuple(stamps))


@lru_cache(maxsize=4)
def _read(stamps: tuple[tuple[Path, int, int], ...]) -> Labels:
    rows: dict[str, set[LabelRow]] = {}
    n_rows: dict[date, int] = {}
    bad: dict[date, list[BadRow]] = {}
    for path, _, _ in stamps:
        day = date.fromisoformat(path.parent.name[4:])
        *lines, tail = path.read_bytes().split(b"\n")
        for number, line in enumerate([*lines, tail]):
            if not line.strip():
                continue
            row = _label(line, number, day)
            if isinstance(row, BadRow) and number == len(lines):
                continue  # a growing file: its last line has no end yet
            n_rows[day] = n_rows.get(day, 0) + 1
            if isinstance(row, BadRow):
                bad.setdefault(day, []).append(row)
                continue
            rows.setdefault(uid_hash(row.trace_uid), set()).add(row)
    ordered = {uid: tuple(sorted(said, key=lambda row: (row.at, row.hash))) for uid, said in rows.items()}
    last = {uid: said[-1] for uid, said in ordered.items()}
    return Labels(last, ordered, n_rows, {day: tuple(of_day) for day, of_day in bad.items()})


def _label(line: bytes, number: int, day: date) -> LabelRow | BadRow:
    try:
        row = LabelRow.model_validate_json(line)
    except ValidationError as error:
        return bad_row(number, line, error)
    if row.day != day:
        return BadRow(number, f"label is of {row.day}, but lies in the landing folder of {day}", line)
    return row


def labels_hash(warehouse: Warehouse, day: date, mine: Mapping[str, set[str]]) -> dict[str, object]:
    """What a day's raw logs take from labels; empty where there are none, so that such days keep their fingerprint.

    Args:
        warehouse: whose landing.
        day: of the raw logs.
        mine: hashed uids that the day's own files hold, with the hashes of their contents.
    """
    labels = labels_in(warehouse)
    own = {uid: labels.last[uid].hash for uid in sorted(mine) if uid in labels.last}
    coming = {uid: label for uid, label in labels.coming(day).items() if uid not in mine}
    earlier = earlier_uids(warehouse, day) if coming else {}
    moved = {uid: [label.hash, *sorted(earlier.get(uid, ()))] for uid, label in sorted(coming.items())}
    bad = [row.raw.hex() for row in labels.bad.get(day, ())]
    found = {"own": own, "moved": moved, "bad": bad}
    return found if any(found.values()) else {}
