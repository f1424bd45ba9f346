"""A day's landing lines -> its raw logs: validated, deduplicated, redacted; nothing is lost without a count.

Rows stay columns all the way: only those that repeat a uid, carry a late label or may hold a secret become records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from synde_pipeline.logs.columns import BLOCK_BYTES, Rows, rows_of_lines
from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.labels import Labels, labels_hash, labels_in
from synde_pipeline.logs.landing import (
    ARTEFACT,
    day_index,
    earlier_uids,
    file_index,
    landing_days,
    landing_files,
    uid_hash,
)
from synde_pipeline.logs.parquet import TRAJECTORIES, from_table, pc, to_table
from synde_pipeline.logs.redact import ALLOWED, NOTHING, Allowed, redact_table, redact_trajectory
from synde_pipeline.logs.tombstones import NONE, REASON, Tombstones, tombstones
from synde_pipeline.records import Trajectory, content_hash
from synde_pipeline.storage import Warehouse


@dataclass
class DayLogs:
    """Raw logs of one day.

    n_in + moved in = kept + duplicates + superseded + quarantined + pending + moved out (law 5).
    """

    table: pa.Table = field(default_factory=TRAJECTORIES.empty_table)
    """The rows that are kept, by uid."""
    superseded: list[Trajectory] = field(default_factory=list)
    quarantined: list[BadRow] = field(default_factory=list)
    n_in: int = 0
    n_duplicates: int = 0
    n_pending: int = 0
    n_moved_out: int = 0
    """Runs with a label of a later day: they lie in that day's raw logs."""
    n_moved_in: int = 0
    """Runs of earlier days with a label of this day."""
    relabelled: list[Trajectory] = field(default_factory=list)
    """Own runs as they were before a label changed or moved them: cycles may have learned from them."""
    n_labels: int = 0
    n_labels_waiting: int = 0
    """Labels of runs that landing does not hold, or not yet."""
    redacted: Counter[str] = field(default_factory=Counter)
    """Kind -> what was replaced in the kept rows."""

    @property
    def kept(self) -> list[Trajectory]:
        """The rows that are kept, as records."""
        return from_table(self.table)

    @property
    def counts(self) -> dict[str, int]:
        """The ledger that must add up, plus how many secrets were replaced."""
        return {
            "rows_in": self.n_in,
            "rows_out": len(self.table),
            "duplicates": self.n_duplicates,
            "superseded": len(self.superseded),
            "quarantined": len(self.quarantined),
            "pending": self.n_pending,
            **{name: n for name, n in self._labels.items() if n},
            "redacted": self.redacted.total(),
            **{f"redacted_{kind}": n for kind, n in sorted(self.redacted.items())},
        }

    @property
    def _labels(self) -> dict[str, int]:
        return {
            "moved_in": self.n_moved_in,
            "moved_out": self.n_moved_out,
            "labels": self.n_labels,
            "labels_waiting": self.n_labels_waiting,
        }


def accounted(counts: Mapping[str, int]) -> int:
    """Rows that a day's ledger says where they went, of those that came in (law 5)."""
    parts = ("rows_out", "duplicates", "superseded", "quarantined", "pending", "moved_out")
    return sum(counts.get(part, 0) for part in parts) - counts.get("moved_in", 0)


def landing_hash(warehouse: Warehouse, day: date) -> str:
    """Fingerprint of what a day's raw logs are made from: files, uids of earlier days in them, labels, allow-list."""
    files = [(path.name, file_index(path, day)[0]) for path in landing_files(warehouse, day)]
    mine = day_index(warehouse, day)
    earlier = {uid: sorted(values) for uid, values in earlier_uids(warehouse, day).items() if uid in mine}
    allowed = warehouse.root / ARTEFACT / ALLOWED
    words = {"allowed": allowed.read_text("utf-8")} if allowed.exists() else {}
    said = labels_hash(warehouse, day, mine)
    return content_hash({"files": files, "earlier": earlier, **words, **({"labels": said} if said else {})})


def read_day(warehouse: Warehouse, day: date) -> DayLogs:
    """Read a day's landing files, validate them, and put labels where they belong."""
    result = _own(warehouse, day)
    labels = labels_in(warehouse)
    rest, labelled = _split(result.table, lambda uid: uid_hash(uid) in labels.last)
    result.relabelled = from_table(labelled)
    said = [(labels.last[uid_hash(run.trace_uid)], run) for run in result.relabelled]
    staying = [label.on(run) for label, run in said if label.day <= day]
    result.n_moved_out = len(said) - len(staying)
    moved, result.n_labels_waiting = _moved_in(warehouse, day, labels)
    result.n_moved_in = len(moved)
    result.table = _by_uid(rest, to_table([*staying, *moved]))
    result.n_labels = labels.n_rows.get(day, 0)
    result.quarantined += labels.bad.get(day, ())
    result.n_in += len(labels.bad.get(day, ()))
    return result


def _own(warehouse: Warehouse, day: date) -> DayLogs:
    """What a day's own files hold, without labels."""
    allowed = Allowed.in_folder(warehouse.root / ARTEFACT)
    files = _opened(landing_files(warehouse, day))
    return validate_day(files, day, earlier_uids(warehouse, day), tombstones(warehouse), allowed)


def _opened(paths: Iterable[Path]) -> Iterator[BinaryIO]:
    """One after the other: a day may have more files than a process may hold open."""
    for path in paths:
        with path.open("rb") as file:
            yield file


def _moved_in(warehouse: Warehouse, day: date, labels: Labels) -> tuple[list[Trajectory], int]:
    """Runs of earlier days that are known from this day on, and how many labels name no run that landing holds."""
    mine = day_index(warehouse, day)
    coming = {uid: label for uid, label in labels.coming(day).items() if uid not in mine}
    found: list[Trajectory] = []
    if not coming:
        return found, 0
    wanted = set(coming)
    for other in landing_days(warehouse):
        here = wanted & day_index(warehouse, other).keys()
        wanted -= here
        if other < day and here:  # a run of a later day takes its label there
            _, moving = _split(_own(warehouse, other).table, lambda uid, here=here: uid_hash(uid) in here)
            found += [coming[uid_hash(run.trace_uid)].on(run) for run in from_table(moving)]
    return found, len(wanted)


def validate_day(
    files: Iterable[BinaryIO],
    day: date,
    earlier: Mapping[str, set[str]],
    stones: Tombstones = NONE,
    allowed: Allowed = NOTHING,
) -> DayLogs:
    """Landing lines -> the day's raw logs: validated, deduplicated, redacted, in an order that files do not set.

    Of one `trace_uid` with differing contents the latest end wins, then the larger hash; a uid that an earlier day
    holds stays there.
    """
    result = DayLogs()
    rows = pa.concat_tables([result.table, *(table for file in files for table in _rows_in(result, file, day, stones))])
    result.quarantined.sort(key=lambda bad: (bad.raw, bad.row))
    n_of_uid = Counter(rows["trace_uid"].to_pylist())
    new, known = _split(rows, lambda uid: n_of_uid[uid] > 1 or uid_hash(uid) in earlier)
    settled, lost = _settled(result, from_table(known), earlier)
    table, result.redacted = redact_table(pa.concat_tables([new, to_table(settled)]), allowed)
    result.table = _by_uid(table)
    result.superseded = [redact_trajectory(run, allowed)[0] for run in lost]
    return result


def _rows_in(result: DayLogs, file: BinaryIO, day: date, stones: Tombstones) -> Iterator[pa.Table]:
    """The valid rows of a file, block by block; all others are counted."""
    first = 0
    while lines := file.readlines(BLOCK_BYTES):
        if not lines[-1].endswith(b"\n") and lines.pop().strip():  # a growing file: its last line has no end yet
            result.n_in += 1
            result.n_pending += 1
        lines = [line[:-1] for line in lines]
        found = rows_of_lines(lines)
        result.n_in += len(found.table) + len(found.bad)
        result.quarantined += [BadRow(first + bad.row, bad.reason, bad.raw) for bad in found.bad]
        yield _in_place(result, found, first, lines, day, stones)
        first += len(lines)


def _in_place(
    result: DayLogs, found: Rows, first: int, lines: Sequence[bytes], day: date, stones: Tombstones
) -> pa.Table:
    """A block's rows less those that were removed, or lie in the folder of another day."""
    is_kept = np.ones(len(found.table), np.bool_)
    pairs = zip(found.table["trace_uid"].to_pylist(), found.table["day"].to_pylist(), strict=True)
    for k, (uid, said) in enumerate(pairs):
        is_gone, number = stones.holds(uid), int(found.numbers[k])
        if is_gone or said != day:
            is_kept[k] = False
            reason = REASON if is_gone else f"row says day {said}, but lies in the landing folder of {day}"
            result.quarantined.append(BadRow(first + number, reason, b"" if is_gone else lines[number]))
    return found.table if is_kept.all() else found.table.filter(pa.array(is_kept))


def _settled(
    result: DayLogs, runs: Iterable[Trajectory], earlier: Mapping[str, set[str]]
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Choose one content of each uid, none of a uid that an earlier day holds; the others are superseded."""
    contents: dict[str, dict[str, Trajectory]] = {}  # uid -> content hash -> trajectory
    for run in runs:
        value, known = run.content_hash, contents.setdefault(run.trace_uid, {})
        if value in known or value[:16] in earlier.get(uid_hash(run.trace_uid), ()):
            result.n_duplicates += 1
        else:
            known[value] = run
    kept, lost = [], []
    for uid, by_hash in sorted(contents.items()):
        ordered = sorted(by_hash.values(), key=_recency)
        if ordered and uid_hash(uid) not in earlier:
            kept.append(ordered.pop())
        lost += ordered
    return kept, lost


def _recency(trajectory: Trajectory) -> tuple[float, str]:
    end = trajectory.ended_at or trajectory.started_at
    return (end.timestamp() if end else float("-inf"), trajectory.content_hash)


def _by_uid(*tables: pa.Table) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table["trace_uid"])).combine_chunks()


def _split(table: pa.Table, is_meant: Callable[[str], bool]) -> tuple[pa.Table, pa.Table]:
    """Rows of whose uid something does not hold, and those of which it does."""
    mask = pa.array([is_meant(uid) for uid in table["trace_uid"].to_pylist()], pa.bool_())
    if not pc.any(mask).as_py():
        return table, table.slice(0, 0)  # most days, and filtering copies
    return table.filter(pc.invert(mask)), table.filter(mask)
