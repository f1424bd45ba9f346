"""Who says a row, whether it is listened to, and what trajectories stand behind an item. Pure.

A row that reads like an attack, or whose source is not trusted, supports nothing, tags nothing and is compared with
nothing: what it says alone is quarantined, and what others say too stays as if it had not been said. So an attacker can
neither push an item over the number of tasks that it takes, nor take a good item down by repeating it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import lru_cache

from synde_pipeline.records import Delta, Outcome, Support
from synde_pipeline.settings import MemoryConfig

HUMAN = "human"
SOURCE = "source:"
"""Prefix of an edit's target that is a source system."""
ANY = "*"
"""In the settings' trust: every source that is not named."""

SERVED = "served"
"""Source of what a server answered without a key; with one, `served-<key's name>`. In the settings' trust: all of them.
Whoever may ask writes these logs, so they are not trusted unless the settings name them."""

WhyNot = Callable[[Delta], str]
"""Row -> why it is not listened to; empty where it is."""


def source_of(trace_uid: str) -> str:
    """Source system of a trajectory: what stands before the colon of its uid."""
    return trace_uid.partition(":")[0]


def trust_in(source: str, config: MemoryConfig) -> float:
    """How far the settings trust a source system, in 0..1."""
    is_served = source == SERVED or source.startswith(f"{SERVED}-")
    otherwise = config.trust.get(SERVED, 0.0) if is_served else config.trust.get(ANY, 1.0)
    return config.trust.get(source, otherwise)


def distrust(source: str, quarantined: Iterable[str], config: MemoryConfig) -> str:
    """Why a source system is not listened to; empty where it is. A person's quarantine holds without guards too."""
    if source in quarantined:
        return f"its source {source} is quarantined"
    trust = trust_in(source, config)
    if config.guards and source != HUMAN and trust < config.min_trust:
        return f"its source {source} is trusted {trust:g}, less than {config.min_trust:g}"
    return ""


def listening(quarantined: frozenset[str], config: MemoryConfig) -> WhyNot:
    """The judge of rows, given the source systems that a person shut out."""
    of_source = lru_cache(maxsize=None)(lambda source: distrust(source, quarantined, config))

    def why_not(row: Delta) -> str:
        if config.guards and row.suspect:
            return f"it reads like an attack: {row.suspect}"
        return of_source(source_of(row.trace_uid))

    return why_not


def shut_out(edits: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Source systems that people shut out, by target and value of their edits in order: the last one wins."""
    last = {target: value for target, value in edits if target.startswith(SOURCE)}
    return frozenset(target.removeprefix(SOURCE) for target, value in last.items() if value == "quarantine")


def persons_word(rows: Iterable[Delta]) -> Delta | None:
    """The last ADD by a person; None where nobody made one."""
    return max((row for row in rows if row.source == HUMAN), key=_order, default=None)


def _order(row: Delta) -> tuple[date, float, str]:
    return row.effective_day, row.at.timestamp() if row.at else float("-inf"), row.delta_id


def supports_of(rows: Sequence[Delta]) -> tuple[Support, ...]:
    """The trajectories behind rows, each once, in canonical order."""
    by_uid = {row.trace_uid: row for row in rows}
    return tuple(_support(row.task_id, uid, row.outcome) for uid, row in sorted(by_uid.items()))


@lru_cache(maxsize=2**16)  # a trajectory supports many items of many banks
def _support(task_id: str, trace_uid: str, outcome: Outcome) -> Support:
    return Support(task_id=task_id, trace_uid=trace_uid, outcome=outcome)
