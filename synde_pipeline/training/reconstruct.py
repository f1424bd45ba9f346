"""The arrival journal of a warehouse that is older than the journal: what its manifests still tell."""

from collections.abc import Collection, Iterable

from synde_pipeline.settings import BufferConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import Arrival, Day, Known, news, oldest_unfinished
from synde_pipeline.training.cycles import claimed_examples, cycles


def reconstructed(
    warehouse: Warehouse, config: BufferConfig, days: Iterable[str], unfinished: Collection[str] = ()
) -> list[Arrival]:
    """The journal as it may have been, with a record for each cycle there is; none without cycles.

    Cycles that are unfinished now (`unfinished`) were so at every record; when the others were finished, nobody knows:
    they are taken to have been before the next one was frozen.

    What no cycle claimed (held-out tasks) is taken to have arrived with the first cycle whose last day is not before
    its own: where it came later in truth, a replay shows it to cycles too early.
    """
    everything, sources = news(warehouse, Known({}, {}), days)
    claims = {
        c: {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, c.key)} for c in cycles(warehouse)
    }
    claimed = {uid for own in claims.values() for uid in own}
    arrived: set[str] = set()
    journal: list[Arrival] = []
    for number, (cycle, own) in enumerate(claims.items(), 1):
        arrived |= own
        new: dict[str, Day] = {}
        for day, found in everything.items():
            silent = set(found) - claimed if day <= str(cycle.last_day) else set()
            now = {uid: value for uid, value in found.items() if uid in arrived or uid in silent}
            if set(now) & (own | (silent - arrived)):
                new[day] = now
        arrived |= {uid for now in new.values() for uid in now}
        complete = {day: sources[day] for day, now in new.items() if now == everything[day]}
        waiting = oldest_unfinished(journal, unfinished)
        about = {"sources": complete, "unfinished": waiting, "is_reconstructed": True}
        journal.append(Arrival(number, new, config, frozen=(cycle.key,), **about))
    return journal
