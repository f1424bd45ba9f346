"""Native files -> trajectories and quarantined rows, with nothing lost on the way.

How bytes become documents is in `documents`, which format means what in `importers`, where rows are filed in `landing`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synde_pipeline.errors import ImportFormatError, InputError
from synde_pipeline.logs.blocks import documents_of
from synde_pipeline.logs.choices import AS_LOGGED, Choices
from synde_pipeline.logs.days import DayRule, Days
from synde_pipeline.logs.documents import LIMITS, BadRow, Document, Limits, Lines, Text
from synde_pipeline.logs.importers.base import REFUSED, Draft, Importer, Label
from synde_pipeline.logs.importers.registry import importer_of, told_of
from synde_pipeline.logs.redact import safe_id
from synde_pipeline.logs.rows import bad_row
from synde_pipeline.logs.run_keys import RunKey
from synde_pipeline.logs.said import Heard, decided
from synde_pipeline.records import Trajectory

UNDATED_END = date(2025, 1, 14)
"""Last day that undated logs are spread to when the user gives no rule."""
UNDATED_DAYS = 14


@dataclass
class FileImport:
    """What one native file held, or one block of a long one."""

    path: Path
    digest: str = ""
    """SHA-256 of its bytes as they were read; empty where they could not be."""
    format: str | None = None
    trajectories: list[Trajectory] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    skipped: str = ""
    """Why nothing was read, for files that are no logs."""
    is_block: bool = False
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


def fixed_per_day(start: date, per_day: int) -> DayRule:
    """`per_day` trajectories a day from `start` on, in file order."""
    return lambda row, _: start + timedelta(days=row // per_day)


def spread_over(end: date = UNDATED_END, days: int = UNDATED_DAYS) -> DayRule:
    """Each file's trajectories evenly over the `days` days that end with `end`, in file order."""
    return lambda row, n_rows: end - timedelta(days=days - 1 - row * days // n_rows)


def native_files(path: Path) -> list[Path]:
    """The files to look into, sorted by path so that file order is the same everywhere.

    Raises:
        InputError: the path does not exist, or is something else than a file or a folder.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist", expected="a log file or a folder of logs")
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if _is_file(file) and not file.name.startswith("."))
    if not path.is_file():
        raise InputError(f"{path} is no file and no folder", expected="a log file or a folder of logs")
    return [path]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # nobody may look: reading it says why
        return True


def read_files(
    paths: Iterable[Path],
    *,
    forced: str | None = None,
    rule: DayRule | None = None,
    choices: Choices = AS_LOGGED,
    limits: Limits = LIMITS,
) -> Iterator[FileImport]:
    """Read native files, long ones of JSON lines block by block; what one says of another one's runs is joined.

    Runs that other files may speak of wait for the last file; all others come at once, so that memory does not grow
    with their number.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    days = Days(rule)
    waiting: list[FileImport] = []
    said: dict[str, list[Heard]] = {}
    for path in paths:
        for found in _read(path, forced, choices, limits):
            for label in found.labels:
                said.setdefault(label.key, []).append((path, label))
            if any(one.label_key for one in found.drafts):
                waiting.append(found)
            else:
                yield _finished(found, days)
            del found  # else a block would be there while the next one is read
    for found in waiting:
        found.drafts = [_labelled(one, found.path, said.get(one.label_key, []), choices) for one in found.drafts]
        yield _finished(found, days)


def read_file(path: Path, **options: Any) -> FileImport:
    """Read one native file, of whatever length; options as of `read_files`.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    whole, *blocks = read_files([path], **options)
    for block in blocks:
        for name in ("trajectories", "bad", "labels", "n_undated", "unknown", "missing"):
            setattr(whole, name, getattr(whole, name) + getattr(block, name))
        whole.keys |= block.keys
        whole.format, whole.skipped = whole.format or block.format, whole.skipped or block.skipped
    return whole


def _read(path: Path, forced: str | None, choices: Choices, limits: Limits) -> Iterator[FileImport]:
    """One file, or its blocks: the first one with rows tells the format of all."""
    importer: Importer | None = None
    n_rows = 0
    for document in documents_of(path, limits):
        result = FileImport(path, document.digest, bad=document.bad, skipped=document.skipped)
        result.is_block = document.is_block
        if document.content is not None and not (isinstance(document.content, Lines) and not document.content):
            importer = importer or _detected(result, document, forced)
            if importer is None:
                yield result
                return
            n_rows = _read_content(result, importer, document.content, choices, n_rows)
        del document
        yield result
        del result


def _detected(result: FileImport, document: Document, forced: str | None) -> Importer | None:
    """Who reads a document; None, and why, where nobody does."""
    try:
        return importer_of(document, forced)
    except ImportFormatError as error:
        if forced:
            raise
        plain = "not JSON, and no log in text that is known" if isinstance(document.content, Text) else str(error)
        result.skipped = told_of(document.content) or plain
        return None


def _read_content(result: FileImport, importer: Importer, content: Any, choices: Choices, n_rows: int) -> int:
    """Read labels and rows of a document; returns how many rows its file had so far."""
    result.format, result.dropped = importer.name, importer.dropped
    result.labels = _labels(result, importer, content)
    for label in result.labels:
        if label.score and label.reward is not None:
            result.scores.setdefault(label.score, []).append(label.reward)
    result.skipped = importer.tells(content)
    return n_rows if result.skipped else _read_rows(result, importer, content, choices, n_rows)


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


def _read_rows(result: FileImport, importer: Importer, content: Any, choices: Choices, first: int) -> int:
    rows = enumerate(importer.rows(content), first)
    number = first - 1
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return number + 1
        except REFUSED as error:  # a generator that failed is over
            result.bad.append(bad_row(number + 1, content, error))
            return number + 2
        if importer.known and isinstance(row, dict):
            result.unknown.update(str(key) for key in row if key not in importer.known)
        try:
            one = _chosen(DraftRow(number, row, importer.parse(row, content, result.path)), importer, choices, result)
            result.drafts.append(one)
            if word := importer.missing(one.draft):
                result.missing[word] += 1
        except REFUSED as error:
            result.bad.append(bad_row(number, row, error))


def _chosen(one: DraftRow, importer: Importer, choices: Choices, result: FileImport) -> DraftRow:
    """A run as the person wants it; an outcome by their rule is a label, which may change when the rule does."""
    scores = importer.scores(one.row)
    draft = choices.applied(one.draft, one.row, scores)
    for name, value in scores.items():
        result.scores.setdefault(name, []).append(value)
    key, label = importer.label_key(one.row, draft), None
    if choices.outcome is not None and draft.outcome != one.draft.outcome:
        given = (key or draft.trace_uid, draft.outcome, draft.label_source, draft.reward, choices.outcome.name)
        label = Label(*given, is_ruled=True)
        result.labels.append(label)
    return replace(one, draft=draft, label_key=key, label=label)


def _labelled(one: DraftRow, path: Path, said: list[Heard], choices: Choices) -> DraftRow:
    """A run with the label that other files of this import give it, unless its own row has one."""
    found = decided(said, path, choices) if one.draft.outcome == "unknown" else None
    if found is None:
        return one
    label = found[1]
    draft = replace(one.draft, outcome=label.outcome, reward=label.reward, label_source=label.label_source)
    return replace(one, draft=draft, label=label)


def _finished(result: FileImport, days: Days) -> FileImport:
    """Give every draft its day, and make records of them."""
    undated = [one.number for one in result.drafts if one.draft.started_at is None and one.draft.day is None]
    result.n_undated = len(undated)
    places = {number: k for k, number in enumerate(undated)}
    day_of = days.for_next(len(undated), result.path, is_block=result.is_block) if undated else None
    for one in result.drafts:
        try:
            if one.draft.day is not None:
                day = one.draft.day
            elif one.draft.started_at is not None:
                day = one.draft.started_at.date()
            else:
                assert day_of is not None  # noqa: S101 - there is an undated draft
                day = day_of(places[one.number])
            values = {column.name: getattr(one.draft, column.name) for column in fields(one.draft)}
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
