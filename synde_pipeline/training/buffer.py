"""When a training cycle starts and what exactly it claims: manifests that are frozen once and replayed for ever.

A cycle is a Parquet file of the claimed examples, byte for byte, whose header is the manifest. It is written under an
exclusive lease, so two processes cannot claim the same trajectory.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import is_current
from synde_pipeline.records import content_hash
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.settings import BufferConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.examples import EXAMPLES, Example

ARTEFACT = "cycles"
SOURCE = "training_examples"


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


@dataclass(frozen=True)
class Buffer:
    """What waits for training, by domain."""

    unclaimed: dict[str, list[Example]]
    n_changed: int
    """Claimed trajectories whose examples differ now; they are reported, not trained again."""
    n_stale_days: int
    """Days left out because what they were made from has changed; they wait until they are materialised again."""

    def n_signals(self, domain: str) -> int:
        """Unclaimed examples of a domain that carry a training signal."""
        return sum(row["metadata"]["contrastive_weight"] > 0 for row in self.unclaimed[domain])


def read_buffer(warehouse: Warehouse) -> Buffer:
    """Collect the examples that no cycle has claimed, in day and trajectory order."""
    claimed: dict[str, str] = {}
    for cycle in cycles(warehouse):
        claimed |= _by_trajectory(claimed_examples(warehouse, cycle.key))
    unclaimed: dict[str, list[Example]] = defaultdict(list)
    n_changed, n_stale_days = 0, 0
    first_day: dict[str, str] = {}
    for day in warehouse.keys(SOURCE):
        if not _is_current(warehouse, day):
            n_stale_days += 1
            continue
        rows = warehouse.read_table(SOURCE, day).to_pylist()
        now = _by_trajectory(rows)
        n_changed += sum(claimed.get(uid, value) != value for uid, value in now.items())
        for row in rows:
            uid = row["metadata"]["trajectory_id"]
            if uid not in claimed and first_day.setdefault(uid, day) == day:
                unclaimed[row["metadata"]["domain"]].append(row)
    return Buffer(dict(unclaimed), n_changed, n_stale_days)


def _is_current(warehouse: Warehouse, day: str) -> bool:
    """Whether a day's examples were made from what landing, raw logs and reflections are now."""
    try:
        fresh_header(warehouse, SOURCE, day, {RAW_LOGS: day, REFLECTIONS: day})
    except LineageError:
        return False
    return is_current(warehouse, date.fromisoformat(day))


def _by_trajectory(rows: list[Example]) -> dict[str, str]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        groups[row["metadata"]["trajectory_id"]].append(row)
    return {uid: content_hash(group) for uid, group in groups.items()}


def freeze_cycles(warehouse: Warehouse, config: BufferConfig) -> tuple[list[Cycle], Buffer]:
    """Freeze one cycle for each domain whose unclaimed examples reach the threshold; call it under the lease.

    Returns:
        The new cycles, and the buffer as it was before.
    """
    buffer = read_buffer(warehouse)
    known = cycles(warehouse)
    new: list[Cycle] = []
    for domain in sorted(buffer.unclaimed):
        if buffer.n_signals(domain) < config.threshold:
            continue
        number = 1 + max((cycle.number for cycle in known if cycle.domain == domain), default=0)
        sequence = 1 + max((cycle.sequence for cycle in [*known, *new]), default=0)
        new.append(_freeze(warehouse, buffer.unclaimed[domain], domain, number, sequence))
    return new, buffer


def _freeze(warehouse: Warehouse, rows: list[Example], domain: str, number: int, sequence: int) -> Cycle:
    by_day: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_day[row["metadata"]["day"]].add(row["metadata"]["trajectory_id"])
    source = {day: warehouse.header(SOURCE, day) for day in sorted(by_day)}
    claims = [
        {"day": day, "content_hash": header.content_hash if header else "", "n_trajectories": len(by_day[day])}
        for day, header in source.items()
    ]
    header = Header(
        artefact=ARTEFACT,
        key=f"{domain}-{number:04d}",
        content_hash=content_hash(rows),
        inputs={f"{SOURCE}[{claim['day']}]": claim["content_hash"] for claim in claims},
        counts={"examples": len(rows), "trajectories": sum(map(len, by_day.values()))},
        info={"domain": domain, "number": number, "sequence": sequence, "last_day": max(by_day), "claims": claims},
    )
    warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=EXAMPLES))
    return cycle_of(header)
