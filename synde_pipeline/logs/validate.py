"""A day's landing lines -> its raw logs: validated, deduplicated, redacted; nothing is lost without a count."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

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
from synde_pipeline.logs.reading import parse_line
from synde_pipeline.logs.redact import ALLOWED, NOTHING, Allowed, redact_trajectory
from synde_pipeline.logs.tombstones import NONE, REASON, Tombstones, tombstones
from synde_pipeline.records import Trajectory, content_hash
from synde_pipeline.storage import Warehouse


@dataclass
class DayLogs:
    """Raw logs of one day.

    n_in + moved in = kept + duplicates + superseded + quarantined + pending + moved out (law 5).
    """

    kept: list[Trajectory] = field(default_factory=list)
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
    def counts(self) -> dict[str, int]:
        """The ledger that must add up, plus how many secrets were replaced."""
        return {
            "rows_in": self.n_in,
            "rows_out": len(self.kept),
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
    kept = []
    for run in result.kept:
        label = labels.last.get(uid_hash(run.trace_uid))
        if label is None:
            kept.append(run)
            continue
        result.relabelled.append(run)
        if label.day > day:
            result.n_moved_out += 1
        else:
            kept.append(label.on(run))
    moved, result.n_labels_waiting = _moved_in(warehouse, day, labels)
    result.n_moved_in = len(moved)
    result.kept = sorted([*kept, *moved], key=lambda run: run.trace_uid)
    result.n_labels = labels.n_rows.get(day, 0)
    result.quarantined += labels.bad.get(day, ())
    result.n_in += len(labels.bad.get(day, ()))
    return result


def _own(warehouse: Warehouse, day: date) -> DayLogs:
    """What a day's own files hold, without labels."""
    files = [path.read_bytes() for path in landing_files(warehouse, day)]
    allowed = Allowed.in_folder(warehouse.root / ARTEFACT)
    return validate_day(files, day, earlier_uids(warehouse, day), tombstones(warehouse), allowed)


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
            runs = [run for run in _own(warehouse, other).kept if uid_hash(run.trace_uid) in here]
            found += [coming[uid_hash(run.trace_uid)].on(run) for run in runs]
    return found, len(wanted)


def validate_day(
    files: Iterable[bytes],
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
    contents: dict[str, dict[str, Trajectory]] = {}  # uid -> content hash -> trajectory
    for data in files:
        *lines, tail = data.split(b"\n")
        if tail.strip():  # a growing file: its last line has no end yet
            result.n_in += 1
            result.n_pending += 1
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            result.n_in += 1
            parsed = parse_line(line, number)
            if isinstance(parsed, BadRow):
                result.quarantined.append(parsed)
            elif bad := _refused(parsed, BadRow(number, "", line), day, stones):
                result.quarantined.append(bad)
            elif _is_known(parsed, contents, earlier):
                result.n_duplicates += 1
            else:
                contents.setdefault(parsed.trace_uid, {})[parsed.content_hash] = parsed
    result.quarantined.sort(key=lambda bad: (bad.raw, bad.row))
    _settle(result, contents, earlier, allowed)
    return result


def _refused(new: Trajectory, row: BadRow, day: date, stones: Tombstones) -> BadRow | None:
    """Why a valid row does not become a raw log, if it does not."""
    if stones.holds(new.trace_uid):
        return BadRow(row.row, REASON, b"")
    if new.day != day:
        return BadRow(row.row, f"row says day {new.day}, but lies in the landing folder of {day}", row.raw)
    return None


def _is_known(new: Trajectory, contents: dict[str, dict[str, Trajectory]], earlier: Mapping[str, set[str]]) -> bool:
    value = new.content_hash
    return value in contents.get(new.trace_uid, ()) or value[:16] in earlier.get(uid_hash(new.trace_uid), ())


def _settle(
    result: DayLogs, contents: dict[str, dict[str, Trajectory]], earlier: Mapping[str, set[str]], allowed: Allowed
) -> None:
    """Choose one content of each uid, none of a uid that an earlier day holds; the others are superseded."""
    for uid, by_hash in sorted(contents.items()):
        ordered = sorted(by_hash.values(), key=_recency)
        if uid_hash(uid) not in earlier:
            clean, n = redact_trajectory(ordered.pop(), allowed)
            result.kept.append(clean)
            result.redacted += n
        result.superseded += [redact_trajectory(item, allowed)[0] for item in ordered]


def _recency(trajectory: Trajectory) -> tuple[float, str]:
    end = trajectory.ended_at or trajectory.started_at
    return (end.timestamp() if end else float("-inf"), trajectory.content_hash)
