"""The memory of a warehouse for processes that live long: read once, and again when a new version was published."""

import os
from threading import Lock

from synde_pipeline.memory.daily import MEMORY
from synde_pipeline.memory.notebook import ARTEFACT as NOTES
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.store import memory_folder
from synde_pipeline.memory.trial_contrasts import ARTEFACT as CONTRASTS
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse

_Version = frozenset[tuple[str, int, int]]


class LiveMemory:
    """`current()` is the newest published memory; in any thread.

    While one thread reads a new version the others get the one before, so nobody waits but for the very first.

    Args:
        warehouse: where the memory is published.
        config: as for `Memory`.
    """

    def __init__(self, warehouse: Warehouse, config: MemoryConfig) -> None:
        self._warehouse, self._config = warehouse, config
        self._lock = Lock()
        self._held: tuple[_Version, Memory] | None = None

    def current(self) -> Memory:
        """The memory as it lies in the warehouse now; the same object as long as nothing was published.

        Raises:
            LineageError: it was embedded by another embedder.
        """
        held = self._held
        if held is not None and (held[0] == version_of(self._warehouse) or not self._lock.acquire(blocking=False)):
            return held[1]
        if held is None:
            self._lock.acquire()
        try:
            # Taken before reading: what is published meanwhile is seen as new by the next call.
            version = version_of(self._warehouse)
            if self._held is None or self._held[0] != version:
                self._held = (version, Memory.load(self._warehouse, self._config))
            return self._held[1]
        finally:
            self._lock.release()


def version_of(warehouse: Warehouse) -> _Version:
    """What changes whenever a part of the memory is published: headers, and the store's version files."""
    files = [path / "current.json" for path in (warehouse.root / MEMORY).glob("day=*")]
    files += memory_folder(warehouse).glob("*.lance/_versions/*.manifest")
    files += [warehouse.table_path(CONTRASTS, ""), warehouse.path(NOTES) / "current.json"]
    found = set()
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 - a thousand of them at a time
        except FileNotFoundError:  # being replaced, or removed
            continue
        found.add((str(file), status.st_ino, status.st_mtime_ns))
    return frozenset(found)
