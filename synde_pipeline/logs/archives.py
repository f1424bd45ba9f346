"""Gzip and zip, unpacked in memory.

Nothing is unpacked to disk, so that no path from a log is ever used as a path; what unpacks to too much is refused.
"""

import codecs
import gzip
import json
import re
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

MOST_BYTES = 2**31
"""Of one unpacked member, and of an archive's members together."""
MOST_TIMES = 200
"""An archive may grow by so much once it is larger than `SMALL`: text packs 5 to 20 times."""
SMALL = 2**24
_ZSTANDARD = 93
"""How a zip marks members that Python's `zipfile` cannot unpack before 3.14, and Inspect AI writes."""


class UnpackError(ValueError):
    """An archive that is broken, would unpack to too much, or names paths outside itself."""


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


def most_unpacked(n_bytes: int) -> int:
    """Bytes that so many packed ones may unpack to."""
    return max(SMALL, MOST_TIMES * n_bytes)


def gunzipped(data: bytes) -> bytes:
    """Unpack gzip.

    Raises:
        UnpackError: it is broken, or unpacks to too much.
    """
    most = min(MOST_BYTES, most_unpacked(len(data)))
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as packed:
            found = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnpackError(f"broken gzip: {error}") from error
    if len(found) > most:
        raise UnpackError(f"gzip of {len(data)} bytes unpacks to more than {most}")
    return found
