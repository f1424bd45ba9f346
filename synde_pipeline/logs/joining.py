"""Rows of native files that each hold some of one run, as spans of a trace that an exporter split over files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from synde_pipeline.logs.importers.base import REFUSED, Importer
from synde_pipeline.logs.importers.registry import importers

File = TypeVar("File")


@dataclass(frozen=True)
class Part:
    """A native row that holds a run or some of it."""

    number: int
    """In its file; -1 where it belongs to a run that another row begins."""
    row: Any
    importer: Importer
    key: str


def loose_parts(content: Any) -> Iterator[Part]:
    """Rows of any source in a document that begin no run, but belong to one."""
    for importer in importers().values():
        try:
            for row in importer.parts(content):
                if key := importer.run_key(row):
                    yield Part(-1, row, importer, key)
        except REFUSED:  # it looks at any document at all
            continue


def runs_of(parts: Iterable[tuple[File, Part]]) -> Iterator[tuple[Part, list[File], list[Any]]]:
    """Group parts by their runs.

    Args:
        parts: with the files that they lie in, in the order of the files.

    Yields:
        The part that begins the run, the files that hold some of it (that of the beginning first), and all its rows.
        What belongs to no run that begins is left out.
    """
    runs: dict[tuple[str, str], list[tuple[File, Part]]] = {}
    for file, part in parts:
        runs.setdefault((part.importer.name, part.key), []).append((file, part))
    for same in runs.values():
        first = next((k for k, (_, part) in enumerate(same) if part.number >= 0), None)
        if first is not None:
            files = [file for file, _ in (same[first], *same)]
            yield same[first][1], files, [part.row for _, part in same]
