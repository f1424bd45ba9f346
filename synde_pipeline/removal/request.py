"""What a person asks to have removed, and which trajectories that is."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from synde_pipeline.errors import InputError
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import SUPERSEDED
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import is_label_file
from synde_pipeline.memory.edits import every_edit
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.storage import Warehouse


class Request(BaseModel):
    """One of: a trajectory, a day, a source, or a cycle's adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trace: str | None = None
    day: date | None = None
    source: str | None = None
    adapter: str | None = None

    @classmethod
    def of(cls, **words: Any) -> Self:
        """Read what a person asks for.

        Raises:
            InputError: not exactly one thing is named.
        """
        n = sum(value is not None for value in words.values())
        if n != 1:
            raise InputError(f"{n} things to remove were named", expected="one of --trace, --day, --source, --adapter")
        return cls(**words)

    @property
    def text(self) -> str:
        """The request in the words of the command line."""
        return next(f"--{name} {value}" for name, value in self if value is not None)

    def matches(self, uid: str, source: str, day: str) -> bool:
        """Whether a trajectory is meant."""
        is_source = self.source is not None and (source == self.source or uid.startswith(f"{self.source}:"))
        return uid == self.trace or is_source or (self.day is not None and day == str(self.day))


def uids_of(warehouse: Warehouse, request: Request) -> list[str]:
    """The trajectories that are meant, wherever they lie: kept, superseded, or in landing only; or people's edits.

    A day is a day of logs: its edits stay.

    Raises:
        InputError: there are none, or no such adapters.
    """
    if request.adapter is not None:
        if warehouse.header(ADAPTERS, request.adapter) is None:
            known = ", ".join(warehouse.keys(ADAPTERS)) or "none yet"
            raise InputError(f"there are no adapters of cycle {request.adapter!r}", expected=known)
        return []
    rows = [*_stored(warehouse), *landed(warehouse)]
    if request.day is None:
        rows += [(edit.trace_uid, edit.source, str(edit.day)) for edit in every_edit(warehouse)]
    found = sorted({uid for uid, source, day in rows if request.matches(uid, source, day)})
    if not found:
        raise InputError(
            f"nothing in the warehouse is meant by {request.text}",
            remedy="`synde sql 'select trace_uid, source, day from raw_logs'` lists what there is",
        )
    return found


def _stored(warehouse: Warehouse) -> Iterator[tuple[str, str, str]]:
    for artefact in (RAW_LOGS, SUPERSEDED):
        for key in warehouse.keys(artefact):
            for row in warehouse.read_table(artefact, key).select(["trace_uid", "source"]).to_pylist():
                yield row["trace_uid"], row["source"], key


def landed(warehouse: Warehouse) -> Iterator[tuple[str, str, str]]:
    """Uid, source and day of every trajectory's row in landing; a label is none, and says nothing of a day of logs."""
    for path in sorted((warehouse.root / LANDING).glob("day=*/*.jsonl")):
        if is_label_file(path):
            continue
        for line in path.read_bytes().split(b"\n"):
            record = parsed(line)
            if record is not None:
                yield record["trace_uid"], str(record.get("source")), path.parent.name.removeprefix("day=")


def parsed(line: bytes) -> dict[str, Any] | None:
    """A landing line as far as it is one, valid or not: an object with a uid."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("trace_uid"), str) else None
