"""Native files -> trajectories and quarantined rows, with nothing lost on the way.

How bytes become documents is in `documents`, which format means what in `importers`, where rows are filed in `landing`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synde_pipeline.errors import ImportFormatError, InputError
from synde_pipeline.logs.choices import AS_LOGGED, Choices
from synde_pipeline.logs.documents import BadRow, Document, Lines, Text, document_of
from synde_pipeline.logs.importers.base import REFUSED, Draft, Importer, Label
from synde_pipeline.logs.importers.registry import detect, told_of
from synde_pipeline.logs.joining import Part, loose_parts, runs_of
from synde_pipeline.logs.redact import safe_id
from synde_pipeline.logs.run_keys import RunKey
from synde_pipeline.logs.said import Heard, decided
from synde_pipeline.records import Trajectory, canonical_json

DayRule = Callable[[int, int], date]
"""(row number, rows in the file) -> day, for rows whose log carries no time."""

UNDATED_END = date(2025, 1, 14)
"""Last day that undated logs are spread to when the user gives no rule."""
UNDATED_DAYS = 14


@dataclass
class FileImport:
    """What one native file held."""

    path: Path
    digest: str = ""
    """SHA-256 of its bytes as they were read; empty where they could not be."""
    format: str | None = None
    trajectories: list[Trajectory] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    skipped: str = ""
    """Why nothing was read, for files that are no logs."""
    n_undated: int = 0
    dropped: tuple[str, ...] = ()
    labels: list[Label] = field(default_factory=list)
    """What the file says of runs that may lie in other files."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Fields that the importer does not know, and in how many rows they were."""
    missing: Counter[str] = field(default_factory=Counter)
    """What runs lack and could have, and how many."""
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Named scores, of which a person's rule may make outcomes, and their values."""
    keys: dict[str, RunKey] = field(default_factory=dict)
    """Content hash of a run that other files may speak of -> what they call it."""
    drafts: list["DraftRow"] = field(default_factory=list)
    """Runs that wait for their labels and their days."""
    parts: list[Part] = field(default_factory=list)
    """Rows that wait for the others of their runs."""

    def without_runs(self) -> "FileImport":
        """What joining labels needs: many runs need not stay in memory for it."""
        return FileImport(self.path, labels=self.labels, keys=self.keys)


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


def read_files(
    paths: Iterable[Path], *, forced: str | None = None, rule: DayRule | None = None, choices: Choices = AS_LOGGED
) -> Iterator[FileImport]:
    """Read native files; what one file of a source says of another one's runs is joined.

    Runs that other files may speak of or hold more of wait for the last file, so that it does not matter how they were
    split over files; all others come at once. What waits is in memory: the traces of one import must fit.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    waiting: list[FileImport] = []
    said: dict[str, list[Heard]] = {}

    def hear(found: FileImport) -> None:
        for label in found.labels:
            said.setdefault(label.key, []).append((found.path, label))

    for path in paths:
        found = _read(path, forced, choices)
        if found.parts or any(one.label_key for one in found.drafts):
            waiting.append(found)
        else:
            hear(found)
            yield _finished(found, rule)
    _join(waiting, choices)
    for found in waiting:
        hear(found)
    for found in waiting:
        found.drafts = [_labelled(one, found.path, said.get(one.label_key, []), choices) for one in found.drafts]
        yield _finished(found, rule)


def read_file(
    path: Path, *, forced: str | None = None, rule: DayRule | None = None, choices: Choices = AS_LOGGED
) -> FileImport:
    """Read one native file; what cannot be read is quarantined with its reason, never raised.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    (found,) = read_files([path], forced=forced, rule=rule, choices=choices)
    return found


def _read(path: Path, forced: str | None, choices: Choices) -> FileImport:
    document = document_of(path)
    result = FileImport(path, document.digest, bad=document.bad, skipped=document.skipped)
    if document.content is None:
        return result
    try:
        importer = _importer_of(document, forced)
    except ImportFormatError as error:
        if forced:
            raise
        plain = "not JSON, and no log in text that is known" if isinstance(document.content, Text) else str(error)
        result.skipped = told_of(document.content) or plain
        result.parts += loose_parts(document.content)
        return result
    result.format, result.dropped = importer.name, importer.dropped
    result.labels = _labels(result, importer, document.content)
    _count_scores(result, result.labels)
    result.parts += loose_parts(document.content)
    if word := importer.tells(document.content):
        result.skipped = word
        return result
    _read_rows(result, importer, document.content, choices)
    return result


def _importer_of(document: Document, forced: str | None) -> Importer:
    try:
        return detect(document.content, forced)
    except ImportFormatError:
        if not isinstance(document.content, dict):
            raise
        # One line of JSON lines is a JSON document too.
        importer = detect(Lines([document.content]), forced)
        document.content = Lines([document.content])
        return importer


def _labels(result: FileImport, importer: Importer, content: Any) -> list[Label]:
    found = []
    try:
        for label in importer.labels(content):
            found.append(label)
    except REFUSED as error:
        result.bad.append(bad_row(0, content, error))
    return found


@dataclass
class DraftRow:
    """A draft, and the native row that it came from."""

    number: int
    row: Any
    draft: Draft
    label_key: str = ""
    label: Label | None = None
    """Of another file or of a person's rule, where it is in the draft."""


def _read_rows(result: FileImport, importer: Importer, content: Any, choices: Choices) -> None:
    rows = enumerate(importer.rows(content))
    number = -1
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except REFUSED as error:  # a generator that failed is over
            result.bad.append(bad_row(number + 1, content, error))
            return
        if importer.known and isinstance(row, dict):
            result.unknown.update(str(key) for key in row if key not in importer.known)
        try:
            key = importer.run_key(row)
        except REFUSED as error:
            result.bad.append(bad_row(number, row, error))
            continue
        if key:
            result.parts.append(Part(number, row, importer, key))
        else:
            _read_run(result, importer, number, [row], content, choices)


def _read_run(
    result: FileImport, importer: Importer, number: int, rows: list[Any], content: Any, choices: Choices
) -> None:
    """Read the row, or the rows, of one run."""
    row = rows[0]
    try:
        row = importer.joined(rows) if len(rows) > 1 else row
        one = _chosen(DraftRow(number, row, importer.parse(row, content, result.path)), importer, choices, result)
        result.drafts.append(one)
        if word := importer.missing(one.draft):
            result.missing[word] += 1
    except REFUSED as error:
        result.bad.append(bad_row(number, row, error))


def _join(waiting: list[FileImport], choices: Choices) -> None:
    """Read the runs whose rows waited; each counts for the file that holds the first row which begins it."""
    others: list[FileImport] = []
    for part, files, rows in runs_of([(found, part) for found in waiting for part in found.parts]):
        _read_run(files[0], part.importer, part.number, rows, None, choices)
        others += files
    for found in others:
        if not (found.drafts or found.bad or (found.format and found.skipped)):
            found.skipped = "parts of runs that other files begin"
    for found in waiting:
        found.parts = []
        found.drafts.sort(key=lambda one: one.number)


def _chosen(one: DraftRow, importer: Importer, choices: Choices, result: FileImport) -> DraftRow:
    """A run as the person wants it; an outcome by their rule is a label, which may change when the rule does."""
    scores = importer.scores(one.row)
    draft = choices.applied(one.draft, one.row, scores)
    for name, value in scores.items():
        result.scores.setdefault(name, []).append(value)
    key, label = importer.label_key(one.row, draft), None
    own = [replace(said, key=key or draft.trace_uid) for said in draft.labels]
    _count_scores(result, own)
    result.labels += own
    if choices.outcome is not None and draft.outcome != one.draft.outcome:
        given = (key or draft.trace_uid, draft.outcome, draft.label_source, draft.reward, choices.outcome.name)
        label = Label(*given, is_ruled=True)
        result.labels.append(label)
    return replace(one, draft=draft, label_key=key, label=label)


def _count_scores(result: FileImport, labels: Iterable[Label]) -> None:
    for label in labels:
        if label.score and label.reward is not None:
            result.scores.setdefault(label.score, []).append(label.reward)


def _labelled(one: DraftRow, path: Path, said: list[Heard], choices: Choices) -> DraftRow:
    """A run with the label that other files of this import give it, unless its own row has one."""
    found = decided(said, path, choices) if one.draft.outcome == "unknown" else None
    if found is None:
        return one
    label = found[1]
    draft = replace(one.draft, outcome=label.outcome, reward=label.reward, label_source=label.label_source)
    return replace(one, draft=draft, label=label)


def _finished(result: FileImport, rule: DayRule | None) -> FileImport:
    """Give every draft its day, and make records of them."""
    undated = [one.number for one in result.drafts if one.draft.started_at is None and one.draft.day is None]
    result.n_undated = len(undated)
    if undated and rule is None:
        raise InputError(
            f"{result.path.name}: {len(undated)} trajectories carry no time",
            expected="a rule that gives them days",
            remedy="add --start-day YYYY-MM-DD --per-day N",
        )
    places = {number: k for k, number in enumerate(undated)}
    for one in result.drafts:
        try:
            if one.draft.day is not None:
                day = one.draft.day
            elif one.draft.started_at is not None:
                day = one.draft.started_at.date()
            else:
                assert rule is not None  # noqa: S101 - undated rows without a rule were refused above
                day = rule(places[one.number], len(undated))
            values = {name: value for name, value in vars(one.draft).items() if name != "labels"}
            values |= {"source": one.draft.source or result.format, "day": day}
            values |= {"trace_uid": safe_id(one.draft.trace_uid, 1), "task_id": safe_id(one.draft.task_id, 2)}
            run = Trajectory(**values)
            result.trajectories.append(run)
            if one.label_key or one.label or run.outcome == "unknown":
                key = one.label_key or one.draft.trace_uid
                result.keys[run.content_hash] = RunKey.of(run, key, result.path, one.label)
        except (ValidationError, OverflowError, UnicodeEncodeError) as error:
            result.bad.append(bad_row(one.number, one.row, error))
    result.drafts = []
    return result


def bad_row(number: int, row: Any, error: Exception) -> BadRow:
    """Quarantine entry of a native row: its JSON, and the reason in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
    elif isinstance(error, KeyError):
        reason = f"missing field {error}"
    else:
        reason = str(error) or type(error).__name__
    return BadRow(number, " ".join(reason.split())[:300], _raw(row))


def _raw(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    try:
        return canonical_json(row).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):  # an archive, say: its file is what it is
        return repr(row).encode("utf-8", "surrogatepass")


def parse_line(line: bytes, number: int = 0) -> Trajectory | BadRow:
    """A canonical trajectory of a line of JSON, or the reason why it is none."""
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError as error:
        return bad_row(number, line, error)
