"""The warehouse: where artefacts lie, and how they are published all at once or not at all.

A table artefact is one Parquet file per partition; its footer carries the header (content hash, recorded inputs,
counts). A folder artefact (adapter, model, report) is a folder named by its content hash plus `current.json`,
renamed into place last. What the rows mean belongs to the stages; which inputs must match, to `lineage`.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from synde_pipeline.errors import LineageError
from synde_pipeline.records import SCHEMA_VERSION, content_hash

HEADER_KEY = b"synde"
STAGE = ".tmp-"
"""Prefix of what is being written, or being removed: never part of an artefact."""
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Header(BaseModel):
    """What an artefact says of itself; stored in the Parquet footer or in `current.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artefact: str
    key: str
    """Partition key: a day (`2025-01-14`), a cycle (`retail-0001`) or empty."""
    schema_version: int = SCHEMA_VERSION
    content_hash: str
    """Hash of the canonical rows or files and of the settings that matter; no wall time, no code version."""
    inputs: dict[str, str] = {}
    """Content hashes of what it was made from, by name."""
    counts: dict[str, int] = {}
    info: dict[str, Any] = {}
    """Facts worth showing that are no part of the content (model names, preset)."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a kill at any instant leaves the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with _staged(path) as stage:
        stage.write_bytes(raw)


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; fsync and rename it into place when the body succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=STAGE)
    os.close(descriptor)
    stage = Path(name)
    try:
        yield stage
        _fsync(stage)
        os.replace(stage, path)  # noqa: PTH105 - Path.replace reads as text replacement here
        _fsync(path.parent)
    finally:
        stage.unlink(missing_ok=True)


def _bring_up_to_date(folder: Path, made: Path) -> None:
    """Let files of `made` that differ take the place of those in a folder, each at once."""
    for file in made.rglob("*"):
        target = folder / file.relative_to(made)
        if file.is_file() and not (target.exists() and cmp(file, target, shallow=False)):
            _fsync(file)
            file.replace(target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Warehouse:
    """A folder of artefacts: `<root>/<artefact>/<partition>/...`."""

    root: Path

    def path(self, artefact: str, key: str = "") -> Path:
        """Folder of one partition of an artefact: hive-style `day=` for an ISO date, else `cycle=`."""
        if not key:
            return self.root / artefact
        return self.root / artefact / f"{'day' if _ISO_DAY.fullmatch(key) else 'cycle'}={key}"

    def keys(self, artefact: str) -> list[str]:
        """Partition keys that are published, sorted."""
        folders = (self.root / artefact).glob("*=*")
        return sorted(
            folder.name.split("=", 1)[1]
            for folder in folders
            if (folder / "data.parquet").exists() or (folder / "current.json").exists()
        )

    # -- tables -------------------------------------------------------------------------------------------------

    def publish_table(self, header: Header, table: pa.Table) -> Header:
        """Write one partition's Parquet file; byte-identical for equal rows and header (law 4)."""
        path = self.path(header.artefact, header.key) / "data.parquet"
        footer = {**(table.schema.metadata or {}), HEADER_KEY: header.model_dump_json().encode("utf-8")}
        with _staged(path) as stage:
            pq.write_table(table.replace_schema_metadata(footer), stage, compression="zstd", compression_level=3)
        return header

    def table_path(self, artefact: str, key: str) -> Path:
        """Path of a partition's Parquet file."""
        return self.path(artefact, key) / "data.parquet"

    def read_table(self, artefact: str, key: str) -> pa.Table:
        """Read one partition.

        Raises:
            LineageError: the partition was never published.
        """
        if self.header(artefact, key) is None:
            raise LineageError(
                f"{artefact}[{key}] is not in the warehouse {self.root}",
                remedy=f"materialise {artefact} for {key} first",
            )
        # partitioning=None: the `day=` in the path must not become a second, conflicting column.
        return pq.read_table(self.table_path(artefact, key), partitioning=None)  # pyright: ignore[reportArgumentType]

    # -- folders ------------------------------------------------------------------------------------------------

    def publish_folder(
        self, artefact: str, key: str, write: Callable[[Path], None], describe: Callable[[Path], Header]
    ) -> Header:
        """Let `write` fill a new folder, `describe` it, then make it the current version of its partition.

        A folder holding the same content is kept; only files beside the content, which say what it was made from, are
        brought up to date. Superseded versions are removed after the switch.
        """
        parent = self.path(artefact, key)
        parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=parent, prefix=STAGE))
        try:
            write(stage)
            header = describe(stage)
            final = parent / header.content_hash[:16]
            if not final.exists():
                for file in stage.rglob("*"):
                    if file.is_file():
                        _fsync(file)
                stage.chmod(0o755)
                stage.rename(final)
            else:
                _bring_up_to_date(final, stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        write_atomically(parent / "current.json", header.model_dump_json(indent=1))
        # Renamed before it is removed: a kill inside rmtree must not leave half a folder under a content's name.
        discarded = Path(tempfile.mkdtemp(dir=parent, prefix=STAGE))
        for old in list(parent.iterdir()):
            is_ours = old.is_dir() or old.name.startswith(STAGE)  # a kill leaves files behind too
            if is_ours and old not in (final, discarded) and "=" not in old.name:
                old.rename(discarded / old.name)
        shutil.rmtree(discarded, ignore_errors=True)
        return header

    def folder(self, artefact: str, key: str) -> Path:
        """Current folder of a partition.

        Raises:
            LineageError: the partition was never published.
        """
        header = self.header(artefact, key)
        if header is None:
            raise LineageError(
                f"{artefact}[{key}] is not in the warehouse {self.root}",
                remedy=f"materialise {artefact} for {key} first",
            )
        return self.path(artefact, key) / header.content_hash[:16]

    # -- headers ------------------------------------------------------------------------------------------------

    def header(self, artefact: str, key: str) -> Header | None:
        """Header of a published partition, None where there is none."""
        pointer = self.path(artefact, key) / "current.json"
        if pointer.exists():
            return _parse_header(pointer, pointer.read_bytes())
        path = self.table_path(artefact, key)
        if not path.exists():
            return None
        footer = pq.read_schema(path).metadata or {}
        if HEADER_KEY not in footer:
            raise LineageError(f"{path} was not written by SynDE", remedy="move the file out of the warehouse")
        return _parse_header(path, footer[HEADER_KEY])


def _parse_header(path: Path, text: bytes) -> Header:
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        raise LineageError(f"{path} has no readable header", remedy="materialise it again") from error
    if header.schema_version > SCHEMA_VERSION:
        raise LineageError(
            f"{path} has schema version {header.schema_version}",
            expected=f"{SCHEMA_VERSION} or older",
            remedy="use the newer SynDE that wrote it",
        )
    return header


def rows_hash(rows: list[dict[str, Any]], settings: Mapping[str, Any] | None = None) -> str:
    """Content hash of canonical rows plus the settings that matter."""
    return content_hash({"rows": rows, "settings": settings or {}})


def read_json(path: Path) -> Any:
    """Read a JSON file of our own."""
    return json.loads(path.read_text("utf-8"))


def files_hash(folder: Path, extra: Any = None, *, without: Collection[str] = ()) -> str:
    """Content hash of a folder: names and bytes of its files but some, and of anything else that matters."""
    files = {
        str(path.relative_to(folder)): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }
    return content_hash({"files": files, "extra": extra})


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in small parts: a model may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
