"""When a training cycle starts and what exactly it claims.

Manifests (`cycles`) are written under an exclusive lease, so two processes cannot claim the same trajectory. Whom a
cycle listens to is in `trust`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import is_current
from synde_pipeline.memory.sources import source_of
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.settings import BufferConfig, MemoryConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import Arrival, Known, append, arrivals, news, oldest_unfinished
from synde_pipeline.training.cycles import (
    ARTEFACT,
    SOURCE,
    Cycle,
    LeftOut,
    by_trajectory,
    claims_of,
    cycles,
    freeze_cycle,
)
from synde_pipeline.training.examples import Example
from synde_pipeline.training.reconstruct import reconstructed
from synde_pipeline.training.trust import Trust

EVERY = "*"
"""All domains, where domains are named."""


@dataclass(frozen=True)
class Standing:
    """What became of earlier cycles; only the layers above know."""

    rejected: frozenset[str] = frozenset()
    """Cycles that the gate turned down: their examples return, at most `MAX_RETURNS` times."""
    unfinished: frozenset[str] = frozenset()
    """Cycles that are not trained and judged yet."""


@dataclass(frozen=True)
class Buffer:
    """What waits for training, by domain."""

    unclaimed: dict[str, list[Example]]
    """In day and trajectory order; examples that a rejected cycle gave back are among them."""
    returned: dict[str, int]
    """Trajectory that came back -> cycles that claimed it in vain."""
    days: tuple[str, ...]
    """Days that were read."""
    stale_days: tuple[str, ...]
    """Days left out because what they were made from has changed; they wait until they are materialised again."""
    n_changed: int
    """Claimed trajectories whose examples were superseded since; they are reported, not trained again."""
    newest_day: str
    """The last day that has examples, claimed or not; empty when there is none."""
    left_out: dict[str, dict[str, LeftOut]]
    """Domain -> source systems not listened to whose examples would wait, or that earlier cycles claimed from."""

    @property
    def n_left_out(self) -> int:
        """Trajectories that do not wait because their source is not listened to."""
        return sum(found.n_trajectories for sources in self.left_out.values() for found in sources.values())

    @property
    def n_stale_days(self) -> int:
        """Days left out."""
        return len(self.stale_days)

    def n_signals(self, domain: str) -> int:
        """Unclaimed examples of a domain that carry a training signal."""
        return _n_signals(self.unclaimed[domain])

    def new(self, domain: str) -> list[Example]:
        """Unclaimed examples of a domain but those that came back."""
        return [row for row in self.unclaimed[domain] if row["metadata"]["trajectory_id"] not in self.returned]

    def is_ready(self, domain: str, config: BufferConfig) -> bool:
        """Whether a domain's new examples start a cycle.

        What came back is trained along with them and starts nothing by itself: the same examples on the same base
        would give the same adapter.
        """
        new = self.new(domain)
        n_trajectories = len({row["metadata"]["trajectory_id"] for row in new})
        if n_trajectories < config.min_trajectories or not _n_signals(new):
            return False
        if _n_signals(new) >= config.threshold:
            return True
        if config.max_age_days is None:
            return False
        oldest = min(row["metadata"]["day"] for row in new)
        age = date.fromisoformat(self.newest_day) - date.fromisoformat(oldest)
        return age.days >= config.max_age_days


def _n_signals(rows: list[Example]) -> int:
    return sum(row["metadata"]["contrastive_weight"] > 0 for row in rows)


@dataclass(frozen=True)
class View:
    """A buffer as it once was: what had arrived, which days were left out, and contents that are others by now."""

    known: frozenset[str]
    stale: frozenset[str] = frozenset()
    contents: Mapping[str, list[Example]] = field(default_factory=dict)
    """Trajectory -> its examples then, where they differ from those that lie in the warehouse now."""


def read_buffer(
    warehouse: Warehouse, rejected: Collection[str] = (), view: View | None = None, *, trust: Trust | None = None
) -> Buffer:
    """Collect the examples that no cycle has claimed, or that rejected ones gave back.

    Args:
        warehouse: where they lie.
        rejected: cycles whose examples come back.
        view: as they once were; None is as they are.
        trust: whom to listen to; None shuts out those whom a person did.
    """
    trust = trust or Trust.now(warehouse, MemoryConfig())
    claims = claims_of(warehouse, rejected)
    unclaimed: dict[str, list[Example]] = defaultdict(list)
    shut: dict[str, str] = {}
    days, stale, n_changed = [], [], 0
    newest_day = ""
    first_day: dict[str, str] = {}
    for day in warehouse.keys(SOURCE):
        if (day in view.stale) if view else not _is_current(warehouse, day):
            stale.append(day)
            continue
        days.append(day)
        rows = _rows_of(warehouse, day, view)
        newest_day = day if rows else newest_day
        now = by_trajectory(rows)
        n_changed += sum(claims.kept.get(uid, value) != value for uid, value in now.items())
        for row in rows:
            uid, domain = row["metadata"]["trajectory_id"], row["metadata"]["domain"]
            if uid in claims.kept or first_day.setdefault(uid, day) != day:
                continue
            if trust.why_not(uid):
                shut[uid] = domain
            else:
                unclaimed[domain].append(row)
    waiting = {row["metadata"]["trajectory_id"] for rows in unclaimed.values() for row in rows}
    returned = {uid: n for uid, n in claims.returned.items() if uid in waiting}
    out = _left_out(trust, shut, claims.domains)
    return Buffer(dict(unclaimed), returned, tuple(days), tuple(stale), n_changed, newest_day, out)


def _left_out(trust: Trust, shut: Mapping[str, str], claimed: Mapping[str, str]) -> dict[str, dict[str, LeftOut]]:
    """Domain -> sources not listened to, from the domains of trajectories that would wait and of earlier claims."""
    found: dict[str, dict[str, LeftOut]] = defaultdict(dict)
    for trajectories, n in ((claimed, 0), (shut, 1)):
        for uid, domain in trajectories.items():
            if why := trust.why_not(uid):
                source = source_of(uid)
                before = found[domain].get(source)
                found[domain][source] = LeftOut(why, n + (before.n_trajectories if before else 0))
    return dict(found)


def _rows_of(warehouse: Warehouse, day: str, view: View | None) -> list[Example]:
    rows = warehouse.read_table(SOURCE, day).to_pylist()
    if view is None:
        return rows
    found = [row for row in rows if row["metadata"]["trajectory_id"] in view.known - view.contents.keys()]
    for uid in sorted(view.contents.keys() & view.known):
        found += [row for row in view.contents[uid] if row["metadata"]["day"] == day]
    return sorted(found, key=lambda row: row["metadata"]["trajectory_id"])  # the order of a day's trajectories


def _is_current(warehouse: Warehouse, day: str) -> bool:
    """Whether a day's examples were made from what landing, raw logs and reflections are now."""
    try:
        fresh_header(warehouse, SOURCE, day, {RAW_LOGS: day, REFLECTIONS: day})
    except LineageError:
        return False
    return is_current(warehouse, date.fromisoformat(day))


def freeze_cycles(
    warehouse: Warehouse,
    config: BufferConfig,
    *,
    standing: Standing = Standing(),
    forced: Collection[str] = (),
    trust: Trust | None = None,
) -> tuple[list[Cycle], Buffer]:
    """Freeze one cycle for each domain that is ready, and note what arrived; call it under the lease.

    A cycle claims all that waits in its domain, so a scope's examples are never split. The journal's record comes
    first and names the cycles; one that a kill left without its manifest is frozen by the next call.

    Args:
        warehouse: where the examples lie.
        config: when a domain is ready.
        standing: what became of earlier cycles.
        forced: domains that are frozen as soon as one new example waits; `EVERY` stands for all.
        trust: as of `read_buffer`.

    Returns:
        The new cycles, and the buffer as it was before.
    """
    journal, trust = arrivals(warehouse), trust or Trust.now(warehouse, MemoryConfig())
    completed = _complete(warehouse, journal, standing) if journal else []
    journal = journal or _begin_journal(warehouse, config, standing.unfinished)
    buffer = read_buffer(warehouse, standing.rejected, trust=trust)
    ready = ready_domains(buffer, config, forced)
    days, sources = news(warehouse, Known.by(journal), buffer.days)
    if not days and not ready:
        return completed, buffer
    record = Arrival(
        number=1 + (journal[-1].number if journal else 0),
        days=days,
        config=config,
        forced=tuple(sorted(forced)),
        frozen=next_keys(warehouse, ready),
        stale=buffer.stale_days,
        unfinished=oldest_unfinished(journal, standing.unfinished),
        sources=sources,
        trust=trust,
    )
    append(warehouse, record)
    return [*completed, *freeze(warehouse, record.frozen, buffer)], buffer


def _begin_journal(warehouse: Warehouse, config: BufferConfig, unfinished: Collection[str]) -> list[Arrival]:
    """The journal of a warehouse that is older than it; nothing in a new one."""
    journal = reconstructed(warehouse, config, warehouse.keys(SOURCE), unfinished)
    for record in journal:
        append(warehouse, record)
    return journal


def ready_domains(buffer: Buffer, config: BufferConfig, forced: Collection[str]) -> list[str]:
    """Domains of which a cycle is to be frozen now."""
    return [
        domain
        for domain in sorted(buffer.unclaimed)
        if (_n_signals(buffer.new(domain)) and (domain in forced or EVERY in forced)) or buffer.is_ready(domain, config)
    ]


def next_keys(warehouse: Warehouse, domains: Iterable[str]) -> tuple[str, ...]:
    """Keys of the domains' next cycles."""
    known = cycles(warehouse)
    numbers = {d: 1 + max((cycle.number for cycle in known if cycle.domain == d), default=0) for d in domains}
    return tuple(f"{domain}-{number:04d}" for domain, number in numbers.items())


def freeze(warehouse: Warehouse, keys: Iterable[str], buffer: Buffer) -> list[Cycle]:
    """Write the manifests of cycles that claim what waits in their domains."""
    frozen = []
    for key in keys:
        domain = key.rsplit("-", 1)[0]
        if domain in buffer.unclaimed:
            out = buffer.left_out.get(domain, {})
            frozen.append(freeze_cycle(warehouse, key, buffer.unclaimed[domain], buffer.returned, out))
    return frozen


def _complete(warehouse: Warehouse, journal: Sequence[Arrival], standing: Standing) -> list[Cycle]:
    """Freeze the cycles that the last record names and a kill left out."""
    there = set(warehouse.keys(ARTEFACT))
    missing = [key for key in journal[-1].frozen if key not in there]
    if not missing:
        return []
    view = View(Known.by(journal).uids, frozenset(journal[-1].stale))
    return freeze(warehouse, missing, read_buffer(warehouse, standing.rejected, view, trust=journal[-1].trust))
