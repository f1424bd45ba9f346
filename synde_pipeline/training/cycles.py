"""Training cycles as they were frozen: manifests of exact claims, written once and replayed for ever.

A cycle is a Parquet file of the claimed examples, byte for byte, whose header is the manifest. When one is frozen is
decided in `buffer`.
"""

from dataclasses import dataclass
from datetime import date

from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.examples import Example

ARTEFACT = "cycles"


@dataclass(frozen=True)
class Cycle:
    """One frozen training cycle."""

    key: str
    """`<domain>-<number>`."""
    domain: str
    number: int
    sequence: int
    """Position in the recorded arrival order of all domains' cycles."""
    last_day: date
    """Latest claimed day: evaluation after it is split by time."""
    claims: tuple[tuple[str, str, int], ...]
    """(day, content hash of that day's examples when claimed, trajectories claimed from it)."""
    content_hash: str


def cycle_of(header: Header) -> Cycle:
    """Read a manifest."""
    info = header.info
    return Cycle(
        key=header.key,
        domain=info["domain"],
        number=info["number"],
        sequence=info["sequence"],
        last_day=date.fromisoformat(info["last_day"]),
        claims=tuple((claim["day"], claim["content_hash"], claim["n_trajectories"]) for claim in info["claims"]),
        content_hash=header.content_hash,
    )


def cycles(warehouse: Warehouse) -> list[Cycle]:
    """All frozen cycles in the recorded arrival order."""
    headers = [warehouse.header(ARTEFACT, key) for key in warehouse.keys(ARTEFACT)]
    return sorted((cycle_of(header) for header in headers if header), key=lambda cycle: cycle.sequence)


def find_cycle(warehouse: Warehouse, key: str) -> Cycle:
    """The manifest of a cycle.

    Raises:
        LineageError: no such cycle was frozen.
    """
    warehouse.read_table(ARTEFACT, key)
    return next(cycle for cycle in cycles(warehouse) if cycle.key == key)


def claimed_examples(warehouse: Warehouse, key: str) -> list[Example]:
    """The examples that a cycle claimed, as they were."""
    return warehouse.read_table(ARTEFACT, key).to_pylist()
