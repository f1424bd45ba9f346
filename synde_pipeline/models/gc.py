"""What may be removed because it can be made again, or serves nobody: planned first, removed after.

Never among it: what is served, any adapter of any cycle, headers (so lineage and decisions stay, and no cycle becomes
due), manifests, logs, memory as it is. A collected model is made again by promoting it or going back to it.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synde_pipeline.errors import InputError
from synde_pipeline.memory.store import drop_old_versions, memory_folder, old_versions
from synde_pipeline.models.adapters import CHECKPOINTS
from synde_pipeline.models.registry import champion
from synde_pipeline.models.serve_as import MERGED
from synde_pipeline.storage import STAGE, Warehouse
from synde_pipeline.training.cycles import cycles

_ABANDONED_S = 3600
"""A stage that nobody has written to for so long belongs to a process that is gone."""


@dataclass(frozen=True)
class Removal:
    """One thing that will be removed."""

    path: Path
    n_bytes: int | None
    """None where it is not known before."""
    reason: str


def plan(warehouse: Warehouse, finished: frozenset[str], keep: int) -> list[Removal]:
    """What `collect` removes.

    Args:
        warehouse: where to look.
        finished: keys of cycles that are not due: nothing more will be asked of their models.
        keep: newest merged models of each domain that stay, beside the champion.

    Raises:
        InputError: `keep` is negative.
    """
    if keep < 0:
        raise InputError(f"--keep is {keep}", expected="0 or more")
    found = [
        *_models(warehouse, finished, keep),
        *_checkpoints(warehouse, finished),
        *_stages(warehouse),
    ]
    if n_versions := old_versions(warehouse):
        found.append(Removal(memory_folder(warehouse), None, f"{n_versions} old versions of the memory's table"))
    return found


def collect(warehouse: Warehouse, removals: list[Removal]) -> int:
    """Remove what was planned; returns the bytes that the warehouse shrank by. Call it under the training lease."""
    before = size(warehouse.root)
    for removal in removals:
        if removal.path == memory_folder(warehouse):
            drop_old_versions(warehouse)
        elif removal.path.is_dir():
            # Renamed first: a kill in the middle must not leave half a folder under a content's name.
            gone = removal.path.with_name(f"{STAGE}{removal.path.name.removeprefix(STAGE)}")
            removal.path.rename(gone)
            shutil.rmtree(gone)
        else:
            removal.path.unlink(missing_ok=True)
    return before - size(warehouse.root)


def _models(warehouse: Warehouse, finished: frozenset[str], keep: int) -> Iterator[Removal]:
    served = {one.cycle for one in champion(warehouse).domains.values()}
    domains: dict[str, list[str]] = {}
    for cycle in cycles(warehouse):
        header = warehouse.header(MERGED, cycle.key)
        if header is not None and header.info.get("kind") != "bank":  # a bank is a table: there is nothing to gain
            domains.setdefault(cycle.domain, []).append(cycle.key)
    for keys in domains.values():
        for key in keys[: max(0, len(keys) - keep)]:
            folder = warehouse.folder(MERGED, key)
            if key in finished and key not in served and folder.is_dir():
                yield Removal(folder, size(folder), f"model of {key}: beyond the newest {keep}, and not served")


def _checkpoints(warehouse: Warehouse, finished: frozenset[str]) -> Iterator[Removal]:
    for folder in sorted((warehouse.root / CHECKPOINTS).glob("cycle=*")):
        if folder.name.removeprefix("cycle=") in finished:
            yield Removal(folder, size(folder), "checkpoints of a finished training")


def _stages(warehouse: Warehouse) -> Iterator[Removal]:
    oldest = time.time() - _ABANDONED_S
    for path in sorted(warehouse.root.rglob(f"{STAGE}*")):
        inside = any(parent.name.startswith(STAGE) for parent in path.parents)
        newest = max(one.stat().st_mtime for one in (path, *path.rglob("*")))
        if not inside and newest < oldest:
            yield Removal(path, size(path), "left by a process that was killed while it wrote")


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
