"""A day's landing lines -> its raw logs: validated, deduplicated, redacted; nothing is lost without a count."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.landing import ARTEFACT, earlier_uids, landing_files, uid_hash
from synde_pipeline.logs.reading import parse_line
from synde_pipeline.logs.redact import NOTHING, Allowed, redact_trajectory
from synde_pipeline.logs.tombstones import NONE, REASON, Tombstones, tombstones
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Warehouse


@dataclass
class DayLogs:
    """Raw logs of one day. n_in = kept + duplicates + superseded + quarantined + pending (law 5)."""

    kept: list[Trajectory] = field(default_factory=list)
    superseded: list[Trajectory] = field(default_factory=list)
    quarantined: list[BadRow] = field(default_factory=list)
    n_in: int = 0
    n_duplicates: int = 0
    n_pending: int = 0
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
            "redacted": self.redacted.total(),
            **{f"redacted_{kind}": n for kind, n in sorted(self.redacted.items())},
        }


def read_day(warehouse: Warehouse, day: date) -> DayLogs:
    """Read a day's landing files and validate them."""
    files = [path.read_bytes() for path in landing_files(warehouse, day)]
    return validate_day(
        files,
        day,
        earlier_uids(warehouse, day),
        tombstones(warehouse),
        Allowed.in_folder(warehouse.root / ARTEFACT),
    )


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
