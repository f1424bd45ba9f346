"""What a person had removed, so that it does not come back: hashes of uids, and the cycles that were taken out.

While a removal is under way the warehouse is refused to everything else: half of a history is none.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from synde_pipeline.errors import RemovalError
from synde_pipeline.storage import Warehouse, read_json, write_atomically

ARTEFACT = "removals"
REASON = "its trajectory was removed from this warehouse (`synde remove --list`); its content was not kept"


class Tombstones(BaseModel):
    """What must stay away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uids: frozenset[str] = frozenset()
    """Hashes of the uids of removed trajectories."""
    cycles: frozenset[str] = frozenset()
    """Cycles whose adapters a person took out."""

    def holds(self, trace_uid: str) -> bool:
        """Whether a trajectory was removed."""
        return bool(self.uids) and hashed(trace_uid) in self.uids


NONE = Tombstones()
"""Of a warehouse from which nothing was removed."""


def hashed(trace_uid: str) -> str:
    """What is kept of a removed trajectory's uid."""
    return hashlib.sha256(trace_uid.encode("utf-8")).hexdigest()


def tombstones(warehouse: Warehouse) -> Tombstones:
    """What was removed so far."""
    path = _path(warehouse)
    return Tombstones.model_validate_json(path.read_bytes()) if path.exists() else NONE


def bury(warehouse: Warehouse, uids: Iterable[str], cycles: frozenset[str]) -> None:
    """Add the uids of removed trajectories; `cycles` are all that are taken out now."""
    all_uids = tombstones(warehouse).uids | {hashed(uid) for uid in uids}
    write_atomically(
        _path(warehouse), json.dumps({"uids": sorted(all_uids), "cycles": sorted(cycles)}, indent=1) + "\n"
    )


def _path(warehouse: Warehouse) -> Path:
    return warehouse.root / ARTEFACT / "tombstones.json"


def active_path(warehouse: Warehouse) -> Path:
    """The journal of the removal that is under way, if there is one."""
    return warehouse.root / ARTEFACT / "active.json"


def refuse_while_removing(warehouse: Warehouse) -> None:
    """Let nothing else work on a warehouse while a removal is under way.

    Raises:
        RemovalError: one is.
    """
    path = active_path(warehouse)
    if path.exists():
        raise RemovalError(
            f"removal {read_json(path)['number']:04d} of this warehouse is not finished",
            remedy="wait for it; if its process is gone, `synde remove --resume` or `synde run` finishes it",
        )
