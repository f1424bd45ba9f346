"""Files of any size as documents: small ones whole, large ones of JSON lines block by block.

What the bytes mean is in `documents`. Peak memory is that of a block and a line, or of the one document that a file is.
"""

import errno
import gzip
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from synde_pipeline.errors import InputError
from synde_pipeline.logs.archives import UnpackError, most_unpacked
from synde_pipeline.logs.documents import (
    LIMITS,
    BadRow,
    Document,
    Limits,
    Place,
    begins_object,
    document_in,
    lines_in,
    long_line,
)

_CHUNK = 2**20
_BROKEN = (OSError, EOFError, zlib.error, UnpackError)
"""What reading on may raise; a broken gzip is an OSError too."""


def documents_of(path: Path, limits: Limits = LIMITS) -> Iterator[Document]:
    """Read a file: one document, or one for each block of a long file of JSON lines.

    What cannot be read comes back as bad rows, nothing is raised. A block's digest depends on its bytes and its place
    alone: of a file that grew, all blocks but the last are what they were.
    """
    try:
        with _opened(path) as file:
            yield from _documents(path, file, limits)
    except OSError as error:
        yield Document(skipped=f"cannot be read: {error.strerror or error}")


def count_lines(path: Path) -> int:
    """Lines of a file, of a gzip the unpacked ones; as far as it can be read."""
    n, last = 0, b"\n"
    try:
        with _opened(path) as file:
            source = _Source(file)
            while data := source.read(_CHUNK):
                n, last = n + data.count(b"\n"), data
    except _BROKEN:
        pass
    return n + (not last.endswith(b"\n"))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file; what else has a path may never answer."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        yield file


class _Source:
    """A file's bytes from its beginning, unpacked where they are packed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.size = os.fstat(file.fileno()).st_size
        file.seek(0)
        head = file.read(4)
        file.seek(0)
        self.is_zip = head == b"PK\x03\x04"
        self.is_packed = head.startswith(b"\x1f\x8b")
        self._stream = gzip.GzipFile(fileobj=file) if self.is_packed else file
        self._left = most_unpacked(self.size) if self.is_packed else None

    def read(self, most: int, *, line: bool = False) -> bytes:
        """The next bytes, or those up to the end of a line.

        Raises:
            UnpackError: it unpacks to too much.
        """
        data = self._stream.readline(most) if line else self._stream.read(most)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise UnpackError(f"gzip of {self.size} bytes unpacks to more than {most_unpacked(self.size)}")
        return data


def _documents(path: Path, file: IO[bytes], limits: Limits) -> Iterator[Document]:
    size = _Source(file).size
    try:
        is_lines = _is_longer(_Source(file), limits.block) and _are_lines(_Source(file), limits)
    except _BROKEN as error:
        is_lines = False
        if size > limits.block:
            yield _broken(Place(path), error)
            return
    if is_lines:
        yield from _blocks(path, _Source(file), limits)
    elif size > limits.whole:
        yield Document(skipped=_refusal(size, limits))
    else:
        file.seek(0)
        data = file.read()
        is_json = path.name.removesuffix(".gz").endswith((".json", ".jsonl"))
        document = document_in(data, is_json=is_json, path=path, limits=limits)
        document.digest = hashlib.sha256(data).hexdigest()
        yield document


def _refusal(size: int, limits: Limits) -> str:
    return str(
        InputError(
            f"a file of {size} bytes that is no JSON lines",
            expected=f"{limits.whole} bytes at most",
            remedy="split it, or write it as JSON lines (jq -c '.[]'), which may be of any size",
        )
    )


def _is_longer(source: _Source, limit: int) -> bool:
    """Whether a file holds more bytes; a packed one is read so far."""
    if source.is_zip or not source.is_packed:
        return not source.is_zip and source.size > limit
    n = 0
    while n <= limit and (data := source.read(_CHUNK)):
        n += len(data)
    return n > limit


def _are_lines(source: _Source, limits: Limits) -> bool:
    """Whether a long file is JSON lines, as its first lines say.

    One line is one document; two are JSON lines where the first begins an object.
    """
    n_lines, is_object = 0, False
    for piece in _pieces(source, Path(), limits):
        data = piece.data.strip()
        if b"\n" in data:
            head = data[: data.rfind(b"\n", 0, _CHUNK) + 1] or data
            return lines_in(head, limits=limits)[1]
        if not n_lines:
            is_object = begins_object(data) if data else piece.is_object
        n_lines += bool(data) + bool(piece.long)
        if n_lines > 1:
            return is_object
    return False


def _blocks(path: Path, source: _Source, limits: Limits) -> Iterator[Document]:
    place = Place(path)
    try:
        for piece in _pieces(source, path, limits):
            digest = hashlib.sha256(b"%d\n" % place.offset + piece.data)
            document, _ = lines_in(piece.data, place, limits)
            row = place.row + len(document.content) + len(document.bad)
            if piece.long:
                document.bad.append(replace(piece.long, row=row))
                digest.update(piece.long.raw)
                row += 1
            place = replace(place, row=row, offset=piece.end)
            document.digest, document.is_block = digest.hexdigest(), True
            del piece
            yield document
            del document  # else it would be there while the next one is read
    except _BROKEN as error:
        yield _broken(place, error)


def _broken(place: Place, error: Exception) -> Document:
    """The rest of a file that cannot be read."""
    where = json.dumps({"file": str(place.path), "offset": place.offset}).encode()
    bad = BadRow(place.row, f"cannot be read from here on: {error or type(error).__name__}", where)
    return Document(bad=[bad], digest=hashlib.sha256(where).hexdigest(), is_block=True)


@dataclass
class _Piece:
    """Whole lines of a file, then perhaps one that is too long."""

    data: bytes
    end: int
    """Its offset in the file."""
    long: BadRow | None = None
    is_object: bool = False
    """Whether the long line begins one."""


def _pieces(source: _Source, path: Path, limits: Limits) -> Iterator[_Piece]:
    """A file in pieces; their rows are counted by who reads their lines.

    Raises:
        OSError, EOFError, zlib.error, UnpackError: it cannot be read on.
    """
    offset = 0
    while data := source.read(limits.block):
        rest = b"" if data.endswith(b"\n") else source.read(limits.line, line=True)
        if len(rest) < limits.line or rest.endswith(b"\n"):
            offset += len(data) + len(rest)
            yield _Piece(data + rest, offset)
        else:
            cut = data.rfind(b"\n") + 1
            is_object = begins_object(data[cut : cut + 99])
            long, offset = _read_over(source, (data[cut:], rest), Place(path, offset=offset + cut), limits)
            data, rest = data[:cut], b""
            yield _Piece(data, offset, long, is_object)


def _read_over(source: _Source, begun: tuple[bytes, ...], place: Place, limits: Limits) -> tuple[BadRow, int]:
    """A line that is too long, which is not kept, and where the next one begins."""
    digest, length, chunk = hashlib.sha256(), 0, b""
    for part in begun:
        digest.update(part)
        length += len(part)
    del begun
    while not chunk.endswith(b"\n") and (chunk := source.read(_CHUNK, line=True)):
        digest.update(chunk.removesuffix(b"\n"))
        length += len(chunk)
    found = long_line(place, length - chunk.endswith(b"\n"), digest.hexdigest(), limits)
    return found, place.offset + length
