"""Native files -> trajectories and quarantined rows, with nothing lost on the way.

How bytes become documents is in `documents`, which format means what in `importers`, where rows are filed in `landing`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from synde_pipeline.errors import ImportFormatError, InputError
from synde_pipeline.logs.blocks import documents_of
from synde_pipeline.logs.choices import AS_LOGGED, Choices
from synde_pipeline.logs.days import DayRule, Days
from synde_pipeline.logs.documents import LIMITS, Document, Limits, Lines, Text
from synde_pipeline.logs.importers.base import REFUSED, Importer, Label
from synde_pipeline.logs.importers.registry import importer_of, told_of
from synde_pipeline.logs.joining import loose_parts, runs_of
from synde_pipeline.logs.rows import bad_row
from synde_pipeline.logs.runs import FileImport, count_scores, finished, labelled, read_rows, read_run
from synde_pipeline.logs.said import Heard

UNDATED_END = date(2025, 1, 14)
"""Last day that undated logs are spread to when the user gives no rule."""
UNDATED_DAYS = 14


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

    Runs that other files may speak of or hold more of wait for the last file, so that it does not matter how they were
    split over files and blocks; all others come at once. What waits is in memory: the traces of one import must fit.

    Raises:
        InputError: rows carry no time and there is no rule that gives them a day.
        ImportFormatError: the format was forced and does not fit.
    """
    days = Days(rule)
    waiting: list[FileImport] = []
    said: dict[str, list[Heard]] = {}

    def hear(found: FileImport) -> None:
        for label in found.labels:
            said.setdefault(label.key, []).append((found.path, label))

    for path in paths:
        for found in _read(path, forced, choices, limits):
            if found.parts or any(one.label_key for one in found.drafts):
                waiting.append(found)
            else:
                hear(found)
                yield finished(found, days)
            del found  # else a block would be there while the next one is read
    _join(waiting, choices)
    for found in waiting:
        hear(found)
    for found in waiting:
        found.drafts = [labelled(one, found.path, said.get(one.label_key, []), choices) for one in found.drafts]
        yield finished(found, days)


def _join(waiting: Sequence[FileImport], choices: Choices) -> None:
    """Read the runs whose rows waited; each counts for the file that holds the first row which begins it."""
    others: list[FileImport] = []
    for part, files, rows in runs_of([(found, part) for found in waiting for part in found.parts]):
        read_run(files[0], part.importer, part.number, rows, None, choices)
        others += files
    for found in others:
        if not (found.is_block or found.drafts or found.bad or (found.format and found.skipped)):
            found.skipped = "parts of runs that other files begin"
    for found in waiting:
        found.is_split, found.parts = bool(found.parts), []
        found.drafts.sort(key=lambda one: one.number)


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
    """One file, or its blocks: the first one that is a log tells the format of all that follow."""
    importer: Importer | None = None
    n_rows = 0
    for document in documents_of(path, limits):
        result = FileImport(path, document.digest, bad=document.bad, skipped=document.skipped)
        result.is_block = document.is_block
        if document.content is not None and not (isinstance(document.content, Lines) and not document.content):
            importer = importer or _detected(result, document, forced)
            result.parts += loose_parts(document.content)
            if importer is not None:
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
    count_scores(result, result.labels)
    result.skipped = importer.tells(content)
    return n_rows if result.skipped else read_rows(result, importer, content, choices, n_rows)


def _labels(result: FileImport, importer: Importer, content: Any) -> list[Label]:
    found = []
    try:
        for label in importer.labels(content):
            found.append(label)
    except REFUSED as error:
        result.bad.append(bad_row(0, content, error))
    return found
