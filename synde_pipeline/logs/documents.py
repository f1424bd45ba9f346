"""Files as documents: JSON, JSON lines, text, and archives of them, by content and never by name.

Nothing is unpacked to disk, so that no path from a log is ever used as a path; what unpacks to too much is refused.
"""

import codecs
import gzip
import hashlib
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

MOST_BYTES = 2**31
"""Of one unpacked member, and of an archive's members together."""
MOST_TIMES = 200
"""An archive may grow by so much once it is larger than `SMALL`: text packs 5 to 20 times."""
SMALL = 2**24
_ZSTANDARD = 93
"""How a zip marks members that Python's `zipfile` cannot unpack before 3.14, and Inspect AI writes."""
_BETWEEN_ROWS = re.compile(r"[ \t\r\n,]*")


class Lines(list[Any]):
    """Rows of a file of JSON lines."""


class Text(str):
    """A file that is no JSON."""

    __slots__ = ()


class UnpackError(ValueError):
    """An archive that is broken, would unpack to too much, or names paths outside itself."""


@dataclass(frozen=True)
class BadRow:
    """A row that no trajectory could be made of, as it was found."""

    row: int
    reason: str
    raw: bytes


class Archive:
    """A zip of JSON members, read one at a time.

    Raises:
        UnpackError: it is broken, unpacks to too much, or holds a path that leads out of it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, UnicodeDecodeError) as error:
            raise UnpackError(f"broken zip: {error}") from error
        total = sum(member.file_size for member in members)
        if total > MOST_BYTES or (total > SMALL and total > MOST_TIMES * len(data)):
            raise UnpackError(f"zip of {len(data)} bytes says it unpacks to {total}")
        self.names = [member.filename for member in members]
        """Of members, in the archive's order."""
        for name in self.names:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", name):
                raise UnpackError(f"zip holds the path {name!r}, which leads out of it")

    def json(self, name: str) -> Any:
        """A member's JSON.

        Raises:
            UnpackError: it is broken, longer than it says, or no JSON.
        """
        try:
            member = self._zip.getinfo(name)
            data = self._unpacked(member)
            if len(data) > member.file_size:
                raise UnpackError(f"{name!r} is longer than it says")
            return json.loads(data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
        except (
            KeyError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            NotImplementedError,
            struct.error,
        ) as error:
            raise UnpackError(f"{name!r} cannot be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise UnpackError(f"{name!r} is not JSON: {error}") from error

    def _unpacked(self, member: zipfile.ZipInfo) -> bytes:
        """A member's bytes, one more than it says where it is longer."""
        if member.compress_type != _ZSTANDARD:
            with self._zip.open(member) as packed:
                return packed.read(member.file_size + 1)
        # A local header is 30 bytes, the lengths of its name and its extra field last.
        name, extra = struct.unpack_from("<HH", self._data, member.header_offset + 26)
        start = member.header_offset + 30 + name + extra
        packed = pa.BufferReader(self._data[start : start + member.compress_size])
        with pa.CompressedInputStream(packed, "zstd") as stream:
            data = stream.read(member.file_size + 1)
        if zlib.crc32(data) != member.CRC:
            raise zipfile.BadZipFile("its checksum is another")
        return data


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


def document_of(path: Path) -> Document:
    """Read a file; what cannot be read of it comes back as bad rows with their bytes, nothing is raised."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Document(skipped=f"cannot be read: {error.strerror}")
    found = document_in(data, is_json=path.name.removesuffix(".gz").endswith((".json", ".jsonl")))
    found.digest = hashlib.sha256(data).hexdigest()
    return found


def document_in(data: bytes, *, is_json: bool) -> Document:
    """The document in a file's bytes.

    Args:
        data: all of the file.
        is_json: whether its name says that it is JSON, so that anything else is a broken file.
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
    return _parsed(data, is_json=is_json)


def _parsed(data: bytes, *, is_json: bool) -> Document:
    # A cut inside a character must not cost the whole rows before it; rows that hold such bytes are refused later.
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    try:
        content, tail = parse_json(text)
    except (ValueError, RecursionError) as error:  # ValueError: JSONDecodeError, or a number of thousands of digits
        if found := lines_of(data) or _objects_of(text):
            return found
        return Document(bad=[BadRow(0, f"not JSON: {error}", data)]) if is_json else Document(Text(text))
    bad = [] if tail is None else [BadRow(len(content), f"truncated or broken JSON after {len(content)} rows", tail)]
    return Document(content, bad)


def gunzipped(data: bytes) -> bytes:
    """Unpack gzip.

    Raises:
        UnpackError: it is broken, or unpacks to too much.
    """
    most = min(MOST_BYTES, max(SMALL, MOST_TIMES * len(data)))
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as packed:
            found = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnpackError(f"broken gzip: {error}") from error
    if len(found) > most:
        raise UnpackError(f"gzip of {len(data)} bytes unpacks to more than {most}")
    return found


def lines_of(data: bytes) -> Document | None:
    """JSON lines, with each broken line as a bad row; None where the first line that holds anything is no object.

    A first line that was cut away may be broken too: then half of the others must be objects.
    """
    rows, bad = Lines(), []
    for number, line in enumerate(_lines(data)):
        try:
            row = json.loads(line.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(number, f"not JSON: {error}", line))
        else:
            rows.append(row)
    n_objects = sum(isinstance(row, dict) for row in rows)
    return Document(rows, bad) if n_objects and n_objects >= len(bad) else None


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


def _lines(data: bytes) -> Iterator[bytes]:
    for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        if line.strip():
            yield line.removesuffix(b"\r")


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
