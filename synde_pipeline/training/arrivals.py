"""The arrival journal: what each evaluation of the buffer saw that was new, what decided, and which cycles it froze.

Which examples share a cycle follows from the order in which logs arrived; removal replays that order (law 8). A record
holds ids and hashes, no text and no wall time; records are only ever appended, under the training lease.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.records import content_hash
from synde_pipeline.settings import BufferConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.trust import EVERYBODY, Trust

ARTEFACT = "arrivals"

ARRIVALS = pa.schema(
    [
        pa.field("day", pa.string(), nullable=False),
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)

Day = dict[str, str]
"""Trajectories of one day: uid -> content hash."""


@dataclass(frozen=True)
class Arrival:
    """One evaluation of the buffer that saw something new, or froze a cycle."""

    number: int
    days: Mapping[str, Day]
    """Days that were new or had changed, each with all its trajectories; a day in a later record replaces it."""
    config: BufferConfig
    """The rule that decided."""
    forced: tuple[str, ...] = ()
    """Domains that a person had trained although they had not reached the threshold; `*` is all of them."""
    frozen: tuple[str, ...] = ()
    """Keys of the cycles that it froze."""
    stale: tuple[str, ...] = ()
    """Known days that were left out, because they had to be materialised again first."""
    unfinished: Mapping[str, int] = field(default_factory=dict)
    """Domain -> arrival that froze its oldest cycle that was not trained and judged yet: what was known of verdicts."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Day -> content hash of its raw logs, to see quickly what changed."""
    trust: Trust = EVERYBODY
    """Which source systems were listened to."""
    is_reconstructed: bool = False
    """Made up from manifests, in a warehouse that is older than the journal."""


@dataclass(frozen=True)
class Known:
    """The trajectories that had arrived by some record."""

    days: Mapping[str, Day]
    sources: Mapping[str, str]
    trust: Trust = EVERYBODY
    """Which source systems the last of the records listened to."""

    @classmethod
    def by(cls, arrivals: Iterable[Arrival]) -> "Known":
        """What records, in order, amount to."""
        days: dict[str, Day] = {}
        sources: dict[str, str] = {}
        trust = EVERYBODY
        for arrival in arrivals:
            days |= arrival.days
            sources |= arrival.sources
            trust = arrival.trust
        return cls(days, sources, trust)

    @property
    def uids(self) -> frozenset[str]:
        """All of them, whatever their day."""
        return frozenset(uid for found in self.days.values() for uid in found)


def arrivals(warehouse: Warehouse) -> list[Arrival]:
    """The whole journal, in order."""
    found = []
    for key in warehouse.keys(ARTEFACT):
        header = warehouse.header(ARTEFACT, key)
        assert header is not None  # noqa: S101 - `keys` has just seen it
        info = header.info
        days: dict[str, Day] = {day: {} for day in info["days"]}
        for row in warehouse.read_table(ARTEFACT, key).to_pylist():
            days[row["day"]][row["trace_uid"]] = row["content_hash"]
        found.append(
            Arrival(
                number=int(key),
                days=days,
                config=BufferConfig.model_validate(info["config"]),
                forced=tuple(info["forced"]),
                frozen=tuple(info["frozen"]),
                stale=tuple(info["stale"]),
                unfinished=info["unfinished"],
                sources=info["sources"],
                trust=Trust.recorded(info.get("trust", {})),
                is_reconstructed=info["is_reconstructed"],
            )
        )
    return found


def append(warehouse: Warehouse, arrival: Arrival) -> None:
    """Publish the next record, all of it or nothing; call it under the training lease."""
    rows = [
        {"day": day, "trace_uid": uid, "content_hash": value}
        for day, found in sorted(arrival.days.items())
        for uid, value in sorted(found.items())
    ]
    said = {
        "days": sorted(arrival.days),
        "config": arrival.config.model_dump(),
        "forced": list(arrival.forced),
        "frozen": list(arrival.frozen),
        "stale": list(arrival.stale),
        "unfinished": dict(sorted(arrival.unfinished.items())),
    }
    if trust := arrival.trust.for_json():
        said["trust"] = trust
    header = Header(
        artefact=ARTEFACT,
        key=f"{arrival.number:06d}",
        content_hash=content_hash({"rows": rows, **said}),
        counts={"days": len(arrival.days), "trajectories": len(rows), "cycles": len(arrival.frozen)},
        info={**said, "sources": dict(arrival.sources), "is_reconstructed": arrival.is_reconstructed},
    )
    warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=ARRIVALS))


def news(warehouse: Warehouse, known: Known, days: Iterable[str]) -> tuple[dict[str, Day], dict[str, str]]:
    """Which of these days hold other trajectories than are known, and the hashes of their raw logs."""
    found: dict[str, Day] = {}
    sources: dict[str, str] = {}
    for day in days:
        header = warehouse.header(RAW_LOGS, day)
        if header is None or header.content_hash == known.sources.get(day):
            continue
        now = {item.trace_uid: item.content_hash for item in load_raw_logs(warehouse, date.fromisoformat(day))}
        if now != known.days.get(day, {}):
            found[day], sources[day] = now, header.content_hash
    return found, sources


def arrival_of(journal: Sequence[Arrival], cycle: str) -> int | None:
    """Number of the record that froze a cycle; None for a cycle that no record names."""
    return next((record.number for record in reversed(journal) if cycle in record.frozen), None)


def oldest_unfinished(journal: Sequence[Arrival], keys: Iterable[str]) -> dict[str, int]:
    """Domain -> arrival of its oldest cycle among these."""
    found: dict[str, int] = {}
    for key in keys:
        domain, number = key.rsplit("-", 1)[0], arrival_of(journal, key)
        if number is not None:
            found[domain] = min(number, found.get(domain, number))
    return found
