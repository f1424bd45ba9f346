"""Training cycles as they were frozen: manifests of exact claims, written once and replayed for ever.

A cycle is a Parquet file of the claimed examples, byte for byte, whose header is the manifest. When one is frozen is
decided in `buffer`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa

from synde_pipeline.records import content_hash
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.examples import EXAMPLES, Example

ARTEFACT = "cycles"
SOURCE = "training_examples"
MAX_RETURNS = 2
"""How often the examples of rejected cycles come back (design.md)."""


class LeftOut(NamedTuple):
    """A source system that a cycle does not listen to."""

    why: str
    n_trajectories: int
    """That would have been claimed; 0 where only earlier claims are not drawn again."""


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
    left_out: Mapping[str, LeftOut] = field(default_factory=dict, hash=False)
    """Source systems from which nothing is claimed, nor drawn from earlier cycles."""


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
        left_out={source: LeftOut(*found) for source, found in info.get("left_out", {}).items()},
    )


def cycles(warehouse: Warehouse) -> list[Cycle]:
    """All frozen cycles in the recorded arrival order."""
    headers = [warehouse.header(ARTEFACT, key) for key in warehouse.keys(ARTEFACT)]
    return sorted((cycle_of(header) for header in headers if header), key=lambda cycle: cycle.sequence)


def freeze_cycle(
    warehouse: Warehouse, key: str, rows: list[Example], returned: Mapping[str, int], left_out: Mapping[str, LeftOut]
) -> Cycle:
    """Write the manifest of a cycle that claims these examples; call it under the lease.

    Args:
        warehouse: where the examples lie.
        key: of the cycle.
        rows: what it claims.
        returned: trajectory that a rejected cycle gave back -> cycles that claimed it in vain.
        left_out: sources that it does not listen to.
    """
    by_day: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_day[row["metadata"]["day"]].add(row["metadata"]["trajectory_id"])
    source = {day: warehouse.header(SOURCE, day) for day in sorted(by_day)}
    claims = [
        {"day": day, "content_hash": header.content_hash if header else "", "n_trajectories": len(by_day[day])}
        for day, header in source.items()
    ]
    domain, number = key.rsplit("-", 1)
    uids = set().union(*by_day.values())
    out = {name: list(found) for name, found in sorted(left_out.items())}
    header = Header(
        artefact=ARTEFACT,
        key=key,
        # Whom a cycle does not listen to decides what is drawn from earlier ones: a shard depends on it.
        content_hash=content_hash({"rows": rows, "left_out": sorted(out)} if out else rows),
        inputs={f"{SOURCE}[{claim['day']}]": claim["content_hash"] for claim in claims},
        counts={
            "examples": len(rows),
            "trajectories": len(uids),
            "returned_trajectories": len(uids & returned.keys()),
            "left_out_trajectories": sum(found.n_trajectories for found in left_out.values()),
        },
        info={
            "domain": domain,
            "number": int(number),
            "sequence": 1 + max((cycle.sequence for cycle in cycles(warehouse)), default=0),
            "last_day": max(by_day),
            "claims": claims,
            "attempt": 1 + max((returned.get(uid, 0) for uid in uids), default=0),
            "left_out": out,
        },
    )
    warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=EXAMPLES))
    return cycle_of(header)


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


class Claims(NamedTuple):
    """What earlier cycles claimed, by trajectory."""

    kept: dict[str, str]
    """Hash of the examples, of those that do not come back."""
    returned: dict[str, int]
    """How often those were claimed that come back."""
    domains: dict[str, str]
    """Of all of them."""


def claims_of(warehouse: Warehouse, rejected: Collection[str]) -> Claims:
    """What cycles claimed, but for what rejected ones give back."""
    latest: dict[str, tuple[str, str]] = {}
    domains: dict[str, str] = {}
    n_claims: Counter[str] = Counter()
    for cycle in cycles(warehouse):
        for uid, value in by_trajectory(claimed_examples(warehouse, cycle.key)).items():
            latest[uid] = (cycle.key, value)
            domains[uid] = cycle.domain
            n_claims[uid] += 1
    returned = {uid: n_claims[uid] for uid, (key, _) in latest.items() if key in rejected}
    returned = {uid: n for uid, n in returned.items() if n <= MAX_RETURNS}
    return Claims({uid: value for uid, (_, value) in latest.items() if uid not in returned}, returned, domains)


def by_trajectory(rows: list[Example]) -> dict[str, str]:
    """Trajectory -> hash of its examples."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        groups[row["metadata"]["trajectory_id"]].append(row)
    return {uid: content_hash(group) for uid, group in groups.items()}
