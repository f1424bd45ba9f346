"""What an importer is: names, detection by content, and parsing of one native row.

Reading files, salvaging broken ones and filing rows under days is in `logs.reading` and `logs.landing`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from synde_pipeline.records import LabelSource, Outcome, Step


@dataclass(frozen=True)
class Draft:
    """A trajectory as its log tells it, before the day rule and the record's checks."""

    trace_uid: str
    task_id: str
    domain: str
    task: str
    steps: tuple[Step, ...]
    outcome: Outcome
    reward: float | None
    label_source: LabelSource
    trial: int = 0
    model: str = ""
    system: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Importer(Protocol):
    """Reads one native format. Rows that `parse` refuses (KeyError, TypeError, ValueError) go to quarantine."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Native fields that go no further, ground truth first."""
        ...

    def detects(self, document: Any) -> bool:
        """Say by its content, never by its name, whether a parsed JSON document is in this format."""
        ...

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the native rows, one per trajectory."""
        ...

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one native row.

        Raises:
            KeyError, TypeError, ValueError: the row is not what the format promises.
        """
        ...


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


def parse_time(text: Any) -> datetime | None:
    """Read an ISO time, naive ones as UTC; None and empty stay None.

    Raises:
        ValueError: the text is no ISO time.
    """
    if text in (None, ""):
        return None
    if not isinstance(text, str):
        raise ValueError(f"time is {text!r}, expected an ISO 8601 text")
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
