"""TAG rows as columns: a million of them are counted by a few passes over arrays. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.memory.sources import source_of
from synde_pipeline.records import Delta

HELPFUL, HARMFUL, NEITHER = 0, 1, 2
_VERDICTS = {"helpful": HELPFUL, "harmful": HARMFUL}
_EPOCH = 719163
"""Ordinal of 1970-01-01, which Arrow's days count from."""

Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]
Strings = pa.ChunkedArray | Sequence[str]

TAG_COLUMNS = ("domain", "task_id", "trace_uid", "target", "value")


class Codes:
    """Strings as small numbers, the same for all columns; it only grows, so a number once given stays."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a string, given now if it has none."""
        found = self._numbers.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found

    def get(self, name: str | None) -> int:
        """The number of a string; -1 where it has none."""
        return -1 if name is None else self._numbers.get(name, -1)


@dataclass(frozen=True)
class Tags:
    """TAG rows, each column of shape (n,); strings are numbers of `Codes`, days are ordinals."""

    day: Ints
    effective_day: Ints
    domain: Ints
    task: Ints
    uid: Ints
    source: Ints
    """Source system of the run."""
    target: Ints
    """Id of the item that was shown."""
    version: Ints
    """Version of the item that was shown; -1 where the log does not say."""
    verdict: Ints

    def __len__(self) -> int:
        return len(self.day)

    def where(self, mask: Mask) -> "Tags":
        """Some of the rows."""
        return self if mask.all() else Tags(*(column[mask] for column in self.columns))

    def with_rows(self, other: "Tags") -> "Tags":
        """These rows and others."""
        return Tags(*map(np.concatenate, zip(self.columns, other.columns, strict=True)))

    @property
    def columns(self) -> list[Ints]:
        """All columns in their order."""
        return [getattr(self, field.name) for field in fields(self)]


def tags_of(deltas: Sequence[Delta], codes: Codes) -> Tags:
    """TAG deltas as columns."""
    days = np.array([(delta.day.toordinal(), delta.effective_day.toordinal()) for delta in deltas], np.int32)
    return _tags(days.reshape(-1, 2), {name: [getattr(delta, name) for delta in deltas] for name in TAG_COLUMNS}, codes)


def tags_in(table: pa.Table, codes: Codes) -> Tags:
    """TAG rows of a table of deltas as columns."""
    days = [table[name].cast(pa.int32()).to_numpy() + np.int32(_EPOCH) for name in ("day", "effective_day")]
    return _tags(np.stack(days, 1), {name: table[name] for name in TAG_COLUMNS}, codes)


def _tags(days: Ints, strings: Mapping[str, Strings], codes: Codes) -> Tags:
    number = codes.number
    return Tags(
        day=days[:, 0],
        effective_day=days[:, 1],
        domain=coded(strings["domain"], number),
        task=coded(strings["task_id"], number),
        uid=coded(strings["trace_uid"], number),
        source=coded(strings["trace_uid"], lambda uid: number(source_of(uid))),
        target=coded(strings["target"], lambda target: number(shown_id(target))),
        version=coded(strings["target"], lambda target: number(target.partition("@")[2]) if "@" in target else -1),
        verdict=coded(strings["value"], lambda value: _VERDICTS.get(value, NEITHER)),
    )


def coded(strings: Strings, number: Callable[[str], int]) -> Ints:
    """A number for each string, (n,); `number` is asked once for each distinct string."""
    whole = pa.array(strings, pa.string()) if isinstance(strings, Sequence) else strings.combine_chunks()
    found = whole.dictionary_encode()
    numbers = np.array([number(string) for string in found.dictionary.to_pylist()], np.int32)
    return numbers[found.indices.to_numpy()]


def distinct(numbers: Ints) -> list[int]:
    """The numbers that occur, sorted; quick where they lie close together."""
    least = numbers.min(initial=np.iinfo(np.int32).max)
    return (np.flatnonzero(np.bincount(numbers - least)) + least).tolist() if len(numbers) else []


def shown_id(target: str) -> str:
    """Item id of `<item id>` or `<item id>@<version>`."""
    return target.partition("@")[0]
