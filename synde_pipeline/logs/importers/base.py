"""What an importer is: names, detection by content, and parsing of one native row.

Reading files is in `logs.documents`, salvaging and filing in `logs.reading` and `logs.landing`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from synde_pipeline.records import LabelSource, Outcome, Step, content_hash

REFUSED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
"""What an importer may raise of a row that is not what its format promises."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Draft:
    """A trajectory as its log tells it, before the day rule and the record's checks."""

    trace_uid: str
    task_id: str
    domain: str
    task: str
    steps: tuple[Step, ...]
    outcome: Outcome = "unknown"
    reward: float | None = None
    label_source: LabelSource = "none"
    trial: int = 0
    model: str = ""
    system: str = ""
    scope: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    shown_memory: tuple[str, ...] = ()
    source: str = ""
    """Importer that read it first, where the log is our own; empty: this one."""
    labels: tuple["Label", ...] = ()
    """What its own row says of it that only a rule of the user can read; their keys are empty."""
    day: date | None = None
    """Day that our own log files it under; None: by its start, else by the rule."""


@dataclass(frozen=True)
class Label:
    """What a file of a source says of a run, which another file may hold."""

    key: str
    """As `Importer.label_key` names the run."""
    outcome: Outcome
    """Unknown where only a rule of the user can say what the score means."""
    label_source: LabelSource
    """Who gave it, also where the outcome is unknown."""
    reward: float | None = None
    score: str = ""
    """Name of the score whose value is `reward`; empty where it has none."""
    below: bool = False
    """Whether it speaks of the runs of its own folder only, and of those in folders of that one."""
    at: datetime | None = None
    """When it was given; None where the file does not say."""
    is_ruled: bool = False
    """Whether a person's rule gave the outcome: it outranks what logs call one."""


@dataclass(frozen=True)
class Declared:
    """Where an importer takes each part of a trajectory from, for people: `synde import --formats` prints it."""

    identity: str
    time: str
    domain: str
    task: str
    steps: str
    outcome: str
    label_source: str
    ground_truth: tuple[str, ...] = ()
    """Native fields that hold the answer: never read."""
    dropped: tuple[str, ...] = ()
    """Other native fields that go no further."""


class Importer(Protocol):
    """Reads one native format; subclass it. Rows that `parse` refuses go to quarantine with the reason."""

    name: str
    """What `--format` calls it."""
    declared: Declared
    known: frozenset[str] = frozenset()
    """Top-level fields of a row that are read or knowingly dropped; others are ignored and counted. Empty: no row."""

    @property
    def dropped(self) -> tuple[str, ...]:
        """Native fields that go no further, ground truth first."""
        return (*self.declared.ground_truth, *self.declared.dropped)

    def detects(self, document: Any) -> bool:
        """Say by its content, never by its name, whether a document (see `logs.documents`) is in this format."""
        ...

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the native rows, one per trajectory."""
        ...

    def run_key(self, row: Any) -> str:
        """What names the run of a row that other rows, of this file or others, may hold more of; empty: it is whole.

        Rows of one key are joined once the last file is read, and parsed without a document.
        """
        return ""

    def joined(self, rows: list[Any]) -> Any:
        """One row of all the rows of a key, which may come in any order; to be written where `run_key` is."""
        return rows[0]

    def parts(self, document: Any) -> Iterator[Any]:
        """Rows with a key that begin no run, but belong to one that other files hold; asked of any document at all."""
        return iter(())

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one native row.

        Raises:
            KeyError, TypeError, ValueError: the row is not what the format promises.
        """
        ...

    def tells(self, document: Any) -> str:
        """What a document of this source is that holds no runs ("SWE-bench report"); empty where it is none."""
        return ""

    def labels(self, document: Any) -> Iterator[Label]:
        """The labels in a document of this source, runs or none; a label in a run's own row belongs into its draft."""
        return iter(())

    def label_key(self, row: Any, draft: Draft) -> str:
        """What labels of this source call a run; empty where no other file speaks of it."""
        return ""

    def scores(self, row: Any) -> Mapping[str, float]:
        """Named scores of a row that mean success only by a rule of the user (`--outcome 'score:NAME>=0.5'`)."""
        return {}

    def missing(self, draft: Draft) -> str:
        """What the log could say and does not, with the remedy ("no tool content: switch on ..."), in one line."""
        return ""


def outcome_of(reward: float | None) -> tuple[Outcome, LabelSource]:
    """Outcome and label source of a verifier's reward in [0, 1]; no reward is no label.

    Raises:
        ValueError: the reward is no number between 0 and 1.
    """
    if reward is None:
        return "unknown", "none"
    if isinstance(reward, bool) or not isinstance(reward, int | float) or not 0 <= reward <= 1:
        raise ValueError(f"reward is {reward!r}, expected a number from 0 to 1 or null")
    if abs(reward - 1.0) <= 1e-6:
        return "success", "verifier"
    return ("failure" if reward <= 1e-6 else "partial"), "verifier"


def labels_of(rows: Iterable[Any], read: Callable[[Any], Label | None]) -> Iterator[Label]:
    """The labels of all rows that hold one; a row that cannot be read costs no other row its label.

    Raises:
        ValueError: at the end, how many rows could not be read, and why the first could not.
    """
    refused: list[Exception] = []
    for row in rows:
        try:
            label = read(row)
        except REFUSED as error:
            refused.append(error)
        else:
            if label is not None:
                yield label
    if refused:
        raise ValueError(f"{len(refused)} labels cannot be read, the first: {refused[0]!r}")


def task_hash(task: str) -> str:
    """Id of a task that its log does not name: the same words are the same task."""
    return content_hash(" ".join(task.split()))[:16]


def id_of(value: Any) -> str:
    """A native id as text.

    Raises:
        TypeError: it is no text and no number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise TypeError(f"id is {value!r}, expected a text or a number")
    return str(value)


def parse_time(value: Any) -> datetime | None:
    """Read an ISO time (naive ones as UTC) or a number since 1970; None, empty and 0 are None.

    A number's unit is told by its size: seconds up to the year 5138, then milli-, micro- and nanoseconds.

    Raises:
        ValueError, OverflowError: it is no time.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if value in (None, "", 0) and value is not False:
        return None
    if isinstance(value, str):
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"time is {value!r}, expected an ISO 8601 text or a number since 1970")
    for per_second in (1, 10**3, 10**6, 10**9):
        if abs(value) < 10**11 * per_second:
            return _EPOCH + timedelta(microseconds=value * 10**6 // per_second)
    raise ValueError(f"time is {value!r}, expected a number since 1970")
