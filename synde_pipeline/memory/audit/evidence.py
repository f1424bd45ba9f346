"""Faults of what items rest on, and of how they fared: loops, harm, single sources, disuse, budget. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta

from synde_pipeline.memory.audit.subject import Finding, Subject, finding_of, named
from synde_pipeline.memory.notes_shown import notebook_id
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.records import MemoryItem


def recall_loops(subject: Subject) -> Iterator[Finding]:
    """Items that too few tasks support but those that were shown the item itself, or one that says the same."""
    same: dict[str, set[str]] = defaultdict(set)
    for a, b in subject.near_pairs:
        same[a.item_id].add(b.item_id)
        same[b.item_id].add(a.item_id)
    for item in subject.bank.items:
        like = same[item.item_id] | {item.item_id}
        echoes, own = set[str](), set[str]()
        for support in item.supports:
            run = subject.runs.get(support.trace_uid)
            (echoes if run and like & subject.shown(run) else own).add(support.task_id)
        if echoes and "" not in own and len(own) < subject.config.min_tasks:
            says = f"{len(echoes)} of {len(item.task_ids)} tasks behind {named(item)} were shown what it says"
            yield finding_of("recall_loops", [item], says)


def never_retrieved(subject: Subject) -> Iterator[Finding]:
    """Active items that no run was shown, though many that came later were shown others."""
    for item in subject.bank.items:
        if subject.shown_in.get(item.item_id):
            continue
        known = _days(subject, item)
        since = known[: max(1, subject.config.min_tasks)][-1] if known else date.max
        could = [
            run
            for run in subject.runs.values()
            if run.shown
            and run.domain == item.domain
            and run.day > since
            and (not item.place or run.scope == item.scope)
        ]
        if len(could) >= subject.limits.could_have:
            says = f"{named(item)} was never shown, though {len(could)} runs since {since} were shown other items"
            yield finding_of("never_retrieved", [item], says)


def _days(subject: Subject, item: MemoryItem) -> list[date]:
    """Days of an item's supports, in order."""
    return sorted(run.day for s in item.supports if (run := subject.runs.get(s.trace_uid)))


def more_harm(subject: Subject) -> Iterator[Finding]:
    """Active items with which at least as many tasks failed as succeeded."""
    for item in subject.bank.items:
        if item.harmful >= max(item.helpful, subject.limits.min_harmful):
            says = f"{item.harmful} tasks failed with {named(item)}, {item.helpful} succeeded"
            yield finding_of("more_harm", [item], says)


def single_source(subject: Subject) -> Iterator[Finding]:
    """Active items of one trajectory, or of one source system where their domain has several; but a person's word."""
    systems = defaultdict[str, set[str]](set)
    for item in subject.bank.items:
        systems[item.domain] |= _systems(item)
    for item in subject.bank.items:
        uids = {support.trace_uid for support in item.supports}
        mine = _systems(item)
        if "human" in mine or not uids:
            continue
        if len(uids) == 1:
            yield finding_of("single_source", [item], f"{named(item)} rests on {next(iter(uids))} alone")
        elif len(mine) == 1 and len(systems[item.domain] - {"human"}) > 1:
            yield finding_of("single_source", [item], f"{named(item)} rests on the source {next(iter(mine))} alone")


def _systems(item: MemoryItem) -> set[str]:
    return {support.trace_uid.partition(":")[0] for support in item.supports}


def stale(subject: Subject) -> Iterator[Finding]:
    """Active items without support, and shown to nobody, for long, while their domain went on."""
    newest: dict[str, date] = {}
    for run in subject.runs.values():
        if run.task_id:  # an edit is not the domain going on
            newest[run.domain] = max(run.day, newest.get(run.domain, date.min))
    for item in subject.bank.items:
        last = max([*_days(subject, item), *(run.day for run in subject.shown_in.get(item.item_id, ()))], default=None)
        now = newest.get(item.domain)
        if last and now and now - last > timedelta(subject.limits.stale_days) and not item.pinned:
            yield finding_of("stale", [item], f"{named(item)} has had no support and was not shown since {last}")


def orphans(subject: Subject) -> Iterator[Finding]:
    """Ids that logs or edits name and no item has: invented, of another warehouse, or of an item whose logs went."""
    notebooks = {notebook_id(item.domain) for item in (*subject.bank.items, *subject.bank.others)}
    for target, n in subject.bank.orphans:
        if target in notebooks:
            continue  # shown as an item, and none: nothing counts for it
        yield Finding("orphans", (target,), "", f"{n} rows name {target!r}, which no item is", "nothing counts for it")


def over_budget(subject: Subject) -> Iterator[Finding]:
    """Domains whose active items take more tokens than they may: pinned ones always have room."""
    tokens = Counter[str]()
    for item in subject.bank.items:
        tokens[item.domain] += n_tokens(item)
    for domain, n in tokens.items():
        if n > subject.config.max_tokens:
            pinned = tuple(item.item_id for item in subject.bank.items if item.pinned and item.domain == domain)
            says = f"the items of {domain} take {n} tokens, {subject.config.max_tokens} are allowed"
            yield Finding("over_budget", pinned, domain, says, f"synde memory unpin {pinned[0] if pinned else 'ID'}")
