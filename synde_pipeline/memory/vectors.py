"""Vectors of memory's own texts, kept in the warehouse: folding in a new process embeds only what is new.

Files are written once, named by what is in them, and never changed, so processes need no lock. Tasks that somebody asks
about are never kept. Removal drops all of it, and while one is under way nothing is written: it is computed from the
logs, and computed again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.embed import Embedder
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Warehouse, write_atomically

VECTORS = "memory_vectors"
_MOST_FILES = 32
"""From then on they are written as one."""
_BATCH = 512
"""Texts that are embedded between two writes."""


class KeptVectors:
    """Text -> vector for one embedder, in memory and on disk; texts are known by their hash."""

    def __init__(self, warehouse: Warehouse, embedder: str) -> None:
        self._warehouse = warehouse
        self._folder = warehouse.root / VECTORS / content_hash(embedder)[:16]

    @cached_property
    def _found(self) -> dict[bytes, NDArray[np.float32]]:
        return self._read()

    def find(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those texts that are known, (dim,) each."""
        return {text: self._found[key] for text in texts if (key := _key(text)) in self._found}

    def find_or_ask(self, texts: Sequence[str], embedder: Embedder) -> dict[str, NDArray[np.float32]]:
        """The vectors of texts; new ones are kept batch by batch, so that a failure loses none that came."""
        found = self.find(texts)
        missing = [text for text in texts if text not in found]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            new = dict(zip(batch, embedder.embed(batch), strict=True))
            self.add(new)
            found |= new
        return found

    def add(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors."""
        new = {_key(text): vector for text, vector in vectors.items()}
        self._found |= new
        if active_path(self._warehouse).exists():
            return
        files = self._files()
        if len(files) < _MOST_FILES:
            self._write(new)
        else:
            whole = self._write(self._read() | new)
            for file in files:
                if file != whole:
                    file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

    def _read(self) -> dict[bytes, NDArray[np.float32]]:
        found: dict[bytes, NDArray[np.float32]] = {}
        for file in self._files():
            try:
                rows = pq.read_table(file)
            except FileNotFoundError:  # another process has just written all files as one
                continue
            vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
            found |= dict(zip(rows["text"].to_pylist(), vectors, strict=True))
        return found

    def _write(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> Path:
        keys = sorted(vectors)
        matrix = np.stack([vectors[key] for key in keys]).astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"text": pa.array(keys, pa.binary(32)), "vector": column}), sink)
        data = sink.getvalue().to_pybytes()
        path = self._folder / f"{hashlib.sha256(data).hexdigest()[:32]}.parquet"
        write_atomically(path, data)
        return path


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
