"""Native rows -> runs: chosen as the person wants them, with the label that counts, a day, and the record's checks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synde_pipeline.logs.choices import Choices
from synde_pipeline.logs.days import Days
from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.importers.base import REFUSED, Draft, Importer, Label
from synde_pipeline.logs.joining import Part
from synde_pipeline.logs.redact import safe_id
from synde_pipeline.logs.rows import bad_row
from synde_pipeline.logs.run_keys import RunKey
from synde_pipeline.logs.said import Heard, decided
from synde_pipeline.records import Trajectory


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
    parts: list[Part] = field(default_factory=list)
    """Rows that wait for the others of their runs."""
    is_split: bool = False
    """Whether there were such rows: read again without the other files, their runs might be halves."""


@dataclass
class DraftRow:
    """A draft, and the native row that it came from."""

    number: int
    row: Any
    draft: Draft
    label_key: str = ""
    label: Label | None = None
    """Of another file or of a person's rule, where it is in the draft."""


def read_rows(result: FileImport, importer: Importer, content: Any, choices: Choices, first: int) -> int:
    """Read the rows of a document; those that others may belong to wait.

    Args:
        result: gets the drafts, the rows that wait and the bad ones.
        importer: of the document.
        content: of the document.
        choices: of the person.
        first: rows that its file had before.

    Returns:
        Rows that its file had so far.
    """
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
            key = importer.run_key(row)
        except REFUSED as error:
            result.bad.append(bad_row(number, row, error))
            continue
        if key:
            result.parts.append(Part(number, row, importer, key))
        else:
            read_run(result, importer, number, [row], content, choices)


def read_run(
    result: FileImport, importer: Importer, number: int, rows: list[Any], content: Any, choices: Choices
) -> None:
    """Read the row, or the rows, of one run; a bad one is put aside."""
    row = rows[0]
    try:
        row = importer.joined(rows) if len(rows) > 1 else row
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
    own = [replace(said, key=key or draft.trace_uid) for said in draft.labels]
    count_scores(result, own)
    result.labels += own
    if choices.outcome is not None and draft.outcome != one.draft.outcome:
        given = (key or draft.trace_uid, draft.outcome, draft.label_source, draft.reward, choices.outcome.name)
        label = Label(*given, is_ruled=True)
        result.labels.append(label)
    return replace(one, draft=draft, label_key=key, label=label)


def count_scores(result: FileImport, labels: Iterable[Label]) -> None:
    """Note the named scores of labels."""
    for label in labels:
        if label.score and label.reward is not None:
            result.scores.setdefault(label.score, []).append(label.reward)


def labelled(one: DraftRow, path: Path, said: Sequence[Heard], choices: Choices) -> DraftRow:
    """A run with the label that other files of this import give it, unless its own row has one."""
    found = decided(said, path, choices) if one.draft.outcome == "unknown" else None
    if found is None:
        return one
    label = found[1]
    draft = replace(one.draft, outcome=label.outcome, reward=label.reward, label_source=label.label_source)
    return replace(one, draft=draft, label=label)


def finished(result: FileImport, days: Days) -> FileImport:
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
