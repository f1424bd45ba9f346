"""What was known when a cycle was frozen: its shard, its base and its report see nothing that arrived later.

So training a cycle again, or replaying history without a trajectory (law 8), reads what the first training read.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import SUPERSEDED, load_raw_logs
from synde_pipeline.logs.parquet import from_table
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.records import Delta, Trajectory
from synde_pipeline.reflection.daily import reflect_as_then
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import Day, Known, arrival_of, arrivals


def known_to(warehouse: Warehouse, cycle: str) -> Known | None:
    """What had arrived when a cycle was frozen; None where the journal does not say, so that all counts as known."""
    journal = arrivals(warehouse)
    number = arrival_of(journal, cycle)
    return None if number is None else Known.by(record for record in journal if record.number <= number)


def known_now(warehouse: Warehouse) -> Known | None:
    """What the whole journal holds; None where there is no journal yet."""
    journal = arrivals(warehouse)
    return Known.by(journal) if journal else None


def trajectories_at(warehouse: Warehouse, known: Known | None) -> Iterator[Trajectory]:
    """Trajectories as they were known, of sources that were listened to, in day order.

    Of a uid that two days hold, the first one's.
    """
    seen: set[str] = set()
    for day in warehouse.keys(RAW_LOGS) if known is None else sorted(known.days):
        for item in _day_at(warehouse, day, known):
            if item.trace_uid not in seen:
                seen.add(item.trace_uid)
                if known is None or not known.trust.why_not(item.trace_uid):
                    yield item


def memory_at(warehouse: Warehouse, config: MemoryConfig, known: Known | None) -> Memory:
    """The memory's ledger as it was known; rows of contents that are others by now are made again.

    People's edits are no logs and never arrive: they are known from their day on. But what a source said that was not
    listened to by then is not there at all, whatever the day: a model must not learn it from older memory either.
    """
    memory = Memory.load(warehouse, config)
    if known is None:
        return memory
    changed = _changed_days(warehouse, known)
    then = {day: set(uids) for day, uids in known.days.items() if day not in changed}
    again: list[Delta] = []
    for day in sorted(changed):
        now = {item.trace_uid: item.content_hash for item in _raw_logs(warehouse, day)}
        items = _day_at(warehouse, day, known)
        then[day] = {item.trace_uid for item in items if now.get(item.trace_uid) == item.content_hash}
        for item in items:
            if item.trace_uid not in then[day] and not known.trust.why_not(item.trace_uid):
                again += deltas_of(reflect_as_then(warehouse, item), item.day)

    def keep(uid: str, day: date) -> bool:
        return uid in then.get(str(day), ()) and not known.trust.why_not(uid)

    heard = {uid for day, uids in then.items() for uid in uids if keep(uid, date.fromisoformat(day))}
    notes = memory.notes.among(heard | {delta.trace_uid for delta in again}) if memory.notes else None
    return replace(memory, ledger=memory.ledger.of_logs(keep).with_rows(again), notes=notes)


def _changed_days(warehouse: Warehouse, known: Known) -> set[str]:
    """Known days whose raw logs are others now; of the rest, nothing need be read to know that they are not."""
    now = {day: warehouse.header(RAW_LOGS, day) for day in known.days}
    return {day for day, header in now.items() if header is None or header.content_hash != known.sources.get(day)}


def _raw_logs(warehouse: Warehouse, day: str) -> list[Trajectory]:
    return load_raw_logs(warehouse, date.fromisoformat(day)) if warehouse.header(RAW_LOGS, day) else []


def _day_at(warehouse: Warehouse, day: str, known: Known | None) -> list[Trajectory]:
    """A day's trajectories as they were known; one whose old content is gone is taken as it is now."""
    now = _raw_logs(warehouse, day)
    then: Day | None = known.days[day] if known else None
    if then is None or then == {item.trace_uid: item.content_hash for item in now}:
        return now
    current = {item.trace_uid: item for item in now}
    missing = {value for uid, value in then.items() if uid not in current or current[uid].content_hash != value}
    old = {item.content_hash: item for item in _elsewhere(warehouse)} if missing else {}
    found = []
    for uid, value in sorted(then.items()):
        item = old.get(value) if value in missing else current[uid]
        item = item or current.get(uid)
        if item is not None:
            found.append(item.model_copy(update={"day": date.fromisoformat(day)}))
    return found


def _elsewhere(warehouse: Warehouse) -> Iterator[Trajectory]:
    """Contents that lost against a later one, and trajectories that moved to another day."""
    for key in warehouse.keys(SUPERSEDED):
        yield from from_table(warehouse.read_table(SUPERSEDED, key))
    for key in warehouse.keys(RAW_LOGS):
        yield from _raw_logs(warehouse, key)
