"""Bytes as documents: JSON, JSON lines, text, and archives of them, by content and never by name.

How much of a file is read at once is in `blocks`.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synde_pipeline.logs.archives import MOST_BYTES, Archive, UnpackError, gunzipped

_BETWEEN_ROWS = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True)
class Limits:
    """How much of a file is in memory at once, in bytes."""

    block: int = 2**26
    """A file that is longer is read block by block where it is JSON lines."""
    line: int = 2**26
    """A longer line of JSON lines is quarantined by reference."""
    whole: int = MOST_BYTES
    """A longer file that is one document is refused."""


LIMITS = Limits()


class Lines(list[Any]):
    """Rows of a file of JSON lines."""


class Text(str):
    """A file that is no JSON."""

    __slots__ = ()


@dataclass(frozen=True)
class BadRow:
    """A row that no trajectory could be made of, as it was found."""

    row: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Place:
    """Where in a file some bytes begin."""

    path: Path = Path()
    row: int = 0
    """Lines before it, less the blank ones."""
    offset: int = 0
    """Bytes before it; of a gzip: unpacked ones."""


def long_line(place: Place, length: int, digest: str, limits: Limits) -> BadRow:
    """A line that is too long to be read, by reference.

    Args:
        place: where it begins.
        length: bytes, without the end of the line.
        digest: SHA-256 of these bytes, in hex.
        limits: what is too long.
    """
    where = {"file": str(place.path), "offset": place.offset, "length": length, "sha256": digest}
    reason = f"a line of {length} bytes, expected {limits.line} at most; it is kept by reference: set SYNDE_MAX_LINE_MB"
    return BadRow(place.row, reason, json.dumps(where).encode())


@dataclass
class Document:
    """What a file holds."""

    content: Any = None
    """JSON, `Lines`, `Text` or `Archive`; None where nothing could be read."""
    bad: list[BadRow] = field(default_factory=list)
    skipped: str = ""
    """Why the file holds nothing."""
    digest: str = ""
    """SHA-256 of the bytes that were read: a file may grow or go before its rows are filed."""
    is_block: bool = False
    """Whether it is a part of a long file of JSON lines."""


def document_in(data: bytes, *, is_json: bool, path: Path = Path(), limits: Limits = LIMITS) -> Document:
    """The document in a file's bytes; what cannot be read of it comes back as bad rows, nothing is raised.

    Args:
        data: all of the file.
        is_json: whether its name says that it is JSON, so that anything else is a broken file.
        path: what references to it call it.
        limits: how long a line may be.
    """
    if not data.strip():
        return Document(skipped="empty file")
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gunzipped(data)
        elif data.startswith(b"PK\x03\x04"):
            return Document(Archive(data))
    except UnpackError as error:
        return Document(bad=[BadRow(0, str(error), data)])
    # A cut inside a character must not cost the whole rows before it; rows that hold such bytes are refused later.
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    try:
        content, tail = parse_json(text)
    except (ValueError, RecursionError) as error:  # ValueError: JSONDecodeError, or a number of thousands of digits
        lines, are_lines = lines_in(data, Place(path), limits)
        if found := lines if are_lines else _objects_of(text):
            return found
        return Document(bad=[BadRow(0, f"not JSON: {error}", data)]) if is_json else Document(Text(text))
    bad = [] if tail is None else [BadRow(len(content), f"truncated or broken JSON after {len(content)} rows", tail)]
    return Document(content, bad)


def lines_in(data: bytes, place: Place = Place(), limits: Limits = LIMITS) -> tuple[Document, bool]:
    """JSON lines, with each broken line as a bad row; and whether they are what the bytes are.

    They are where at least half of the lines that hold anything are objects: a first line that was cut away may be
    broken too.
    """
    rows, bad = Lines(), []
    n_objects = n_broken = 0
    for number, (offset, line) in enumerate(_lines(data), place.row):
        if len(line) > limits.line:
            here = replace(place, row=number, offset=place.offset + offset)
            bad.append(long_line(here, len(line), hashlib.sha256(line).hexdigest(), limits))
            n_objects += begins_object(line)
            continue
        try:
            row = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(number, f"not JSON: {error}", line.removesuffix(b"\r")))
            n_broken += 1
        else:
            rows.append(row)
            n_objects += isinstance(row, dict)
    return Document(rows, bad), bool(n_objects) and n_objects >= n_broken


def begins_object(line: bytes) -> bool:
    """Whether a line of JSON holds an object, as its first byte says."""
    return line[:99].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def _objects_of(text: str) -> Document | None:
    """Objects one after another, each over many lines, as exporters print them; None where there are fewer than two."""
    if not text.startswith("{"):
        return None
    rows, at = _salvage(text, 0)
    if len(rows) < 2 or not all(isinstance(row, dict) for row in rows):
        return None
    tail = text[at:].encode("utf-8", "surrogateescape")
    bad = [BadRow(len(rows), f"broken JSON after {len(rows)} objects", tail)] if tail.strip() else []
    return Document(Lines(rows), bad)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that hold anything, each with its offset."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        line = data[at:end]
        if line.strip():
            yield at, line
        at = end + 1


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
