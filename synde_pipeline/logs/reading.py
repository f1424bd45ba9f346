"""Native files -> trajectories and quarantined rows, with nothing lost on the way.

Which format means what is in `importers`; where the rows are filed is in `landing`.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synde_pipeline.errors import ImportFormatError, InputError
from synde_pipeline.logs.importers.base import Draft, Importer
from synde_pipeline.logs.importers.registry import detect
from synde_pipeline.records import Trajectory, canonical_json

DayRule = Callable[[int, int], date]
"""(row number, rows in the file) -> day, for rows whose log carries no time."""

_BETWEEN_ROWS = re.compile(r"[ \t\r\n,]*")

UNDATED_END = date(2025, 1, 14)
"""Last day that undated logs are spread to when the user gives no rule."""
UNDATED_DAYS = 14


@dataclass(frozen=True)
class BadRow:
    """A row that no trajectory could be made of, as it was found."""

    row: int
    reason: str
    raw: bytes


@dataclass
class FileImport:
    """What one native file held."""

    path: Path
    format: str | None = None
    trajectories: list[Trajectory] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    skipped: str = ""
    """Why nothing was read, for files that are no logs."""
    n_undated: int = 0
    dropped: tuple[str, ...] = ()


def fixed_per_day(start: date, per_day: int) -> DayRule:
    """`per_day` trajectories a day from `start` on, in file order."""
    return lambda row, _: start + timedelta(days=row // per_day)


def spread_over(end: date = UNDATED_END, days: int = UNDATED_DAYS) -> DayRule:
    """Each file's trajectories evenly over the `days` days that end with `end`, in file order."""
    return lambda row, n_rows: end - timedelta(days=days - 1 - row * days // n_rows)


def native_files(path: Path) -> list[Path]:
    """The files to look into, sorted by path so that file order is the same everywhere.

    Raises:
        InputError: the path does not exist.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist", expected="a log file or a folder of logs")
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))


def read_file(path: Path, *, forced: str | None = None, rule: DayRule | None = None) -> FileImport:
    """Read one native file; what cannot be read is quarantined with its reason, never raised.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    result = FileImport(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        result.skipped = f"cannot be read: {error.strerror}"
        return result
    if not data.strip():
        result.skipped = "empty file"
        return result
    try:
        # A cut inside a character must not cost the whole rows before it; rows that hold such bytes are refused later.
        document, tail = parse_json(data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:  # ValueError: JSONDecodeError, or a number of thousands of digits
        if path.suffix in (".json", ".jsonl") or forced:
            result.bad.append(BadRow(0, f"not JSON: {error}", data))
        else:
            result.skipped = "not JSON"
        return result
    try:
        importer = detect(document, forced)
    except ImportFormatError as error:
        if forced:
            raise
        result.skipped = str(error)
        return result
    result.format, result.dropped = importer.name, importer.dropped
    if tail is not None:
        rows = len(document)
        result.bad.append(BadRow(rows, f"truncated or broken JSON after {rows} rows", tail))
    _read_rows(result, importer, document, rule)
    return result


def parse_json(text: str) -> tuple[Any, bytes | None]:
    """Parse a JSON document; of a broken array the whole elements before the break are salvaged.

    Returns:
        The document, and the raw bytes from the break on (None when the document is whole).

    Raises:
        ValueError, RecursionError: nothing could be salvaged.
    """
    try:
        return json.loads(text), None
    except (ValueError, RecursionError):
        if not text.lstrip().startswith("["):
            raise
        rows, at = _salvage(text, text.index("[") + 1)
        if not rows:
            raise
        return rows, text[at:].encode("utf-8", "surrogateescape")


def _salvage(text: str, at: int) -> tuple[list[Any], int]:
    decoder, rows = json.JSONDecoder(), []
    while True:
        start = _BETWEEN_ROWS.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]
        try:
            row, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return rows, start
        rows.append(row)


def _read_rows(result: FileImport, importer: Importer, document: Any, rule: DayRule | None) -> None:
    drafts: list[tuple[int, Any, Draft]] = []
    for number, row in enumerate(importer.rows(document)):
        try:
            drafts.append((number, row, importer.parse(row, document, result.path)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            result.bad.append(bad_row(number, row, error))
    undated = {number: k for k, number in enumerate(n for n, _, draft in drafts if draft.started_at is None)}
    result.n_undated = len(undated)
    if undated and rule is None:
        raise InputError(
            f"{result.path.name}: {len(undated)} trajectories carry no time",
            expected="a rule that gives them days",
            remedy="add --start-day YYYY-MM-DD --per-day N",
        )
    for number, row, draft in drafts:
        try:
            if draft.started_at is not None:
                day = draft.started_at.date()
            else:
                assert rule is not None  # noqa: S101 - undated rows without a rule were refused above
                day = rule(undated[number], len(undated))
            values = {column.name: getattr(draft, column.name) for column in fields(draft)}
            result.trajectories.append(Trajectory(source=importer.name, day=day, **values))
        except (ValidationError, OverflowError) as error:
            result.bad.append(bad_row(number, row, error))


def bad_row(number: int, row: Any, error: Exception) -> BadRow:
    """Quarantine entry of a native row: its JSON, and the reason in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
    elif isinstance(error, KeyError):
        reason = f"missing field {error}"
    else:
        reason = str(error) or type(error).__name__
    raw = row if isinstance(row, bytes) else canonical_json(row).encode("utf-8", "surrogatepass")
    return BadRow(number, " ".join(reason.split())[:300], raw)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
