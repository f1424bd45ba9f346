"""Faults that one sees by reading: duplicates, contradictions, secrets, and what reads like an attack. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from synde_pipeline.logs.sensitive import spans_of
from synde_pipeline.memory.audit.subject import Finding, Subject, finding_of, named, text_of, weaker_first
from synde_pipeline.memory.opposites import reduced
from synde_pipeline.records import MemoryItem
from synde_pipeline.reflection.injection import why_suspect


def exact_duplicates(subject: Subject) -> Iterator[Finding]:
    """Items of one domain and place that say the same, letter case and spaces apart."""
    groups: dict[tuple[str, str, str], list[MemoryItem]] = defaultdict(list)
    for item in subject.bank.items:
        groups[item.domain, item.place, " ".join(text_of(item).casefold().split())].append(item)
    for group in groups.values():
        for a, b in combinations(group, 2):
            yield finding_of("exact_duplicates", weaker_first(a, b), f"both say {named(a)}")


def near_duplicates(subject: Subject) -> Iterator[Finding]:
    """Items whose texts are near, whatever guards keep them apart: two that are meant to differ may stay."""
    for a, b in subject.near_pairs:
        if " ".join(text_of(a).casefold().split()) != " ".join(text_of(b).casefold().split()):
            yield finding_of("near_duplicates", weaker_first(a, b), f"{named(a)} is near {named(b)}")


def contradictions(subject: Subject) -> Iterator[Finding]:
    """Items of one scope and condition that advise the opposite."""
    groups: dict[tuple[str, str, frozenset[str]], list[MemoryItem]] = defaultdict(list)
    for item in subject.bank.items:
        groups[item.domain, item.scope, reduced(item.title)[0]].append(item)
    pairs = {(a.item_id, b.item_id): (a, b) for group in groups.values() for a, b in combinations(group, 2)}
    pairs |= {(a.item_id, b.item_id): (a, b) for a, b in subject.near_pairs if a.scope == b.scope}
    for a, b in pairs.values():
        if _is_opposite(a, b, subject.limits.overlap):
            says = f"{named(a)} ({a.kind}) against {named(b)} ({b.kind})"
            yield finding_of("contradictions", weaker_first(a, b), says)


def _is_opposite(a: MemoryItem, b: MemoryItem, overlap: float) -> bool:
    (title_a, against_a), (title_b, against_b) = reduced(a.title), reduced(b.title)
    if title_a == title_b and against_a != against_b:
        return True
    (words_a, no_a), (words_b, no_b) = reduced(a.content), reduced(b.content)
    common = len(words_a & words_b) / max(1, len(words_a | words_b))
    if {a.kind, b.kind} == {"strategy", "pitfall"} and title_a == title_b:
        return (words_a <= words_b or words_b <= words_a) if words_a and words_b else False
    return no_a != no_b and common >= overlap


def secrets(subject: Subject) -> Iterator[Finding]:
    """Items, active or not, whose text holds what looks like a credential."""
    for item in (*subject.bank.items, *subject.bank.others):
        kinds = sorted({span.kind for span in spans_of(text_of(item))})
        if kinds:
            yield finding_of("secrets", [item], f"holds what looks like {', '.join(kinds)}", _removal(item))


def _removal(item: MemoryItem) -> str:
    uids = [s.trace_uid for s in item.supports if s.task_id]
    return f"synde remove --trace {uids[0]}" if uids else f"synde memory edit {item.item_id} --content ..."


def suspects(subject: Subject) -> Iterator[Finding]:
    """Active items whose text reads like an attack: a person added or restored them, or guards are off."""
    for item in subject.bank.items:
        why = why_suspect(text_of(item))
        if why:
            yield finding_of("suspects", [item], f"{named(item)}: {why}", f"synde quarantine item {item.item_id}")
