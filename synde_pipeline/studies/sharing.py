"""An agent's adapter or memory given to another agent: at places that the giver knows, the taker knows, nobody knows.

Half of a laboratory's places are agent A's, the other half agent B's: each has the memory items and the adapter of its
own half. B is then given what A has, and tried at A's places, at its own, and at places that neither ever saw.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.learning import adapters_of, rows_by_domain, training
from synde_pipeline.studies.paired import Arms, act, side_by_side
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import ITEMS, Way, gained, levels, new_tasks, tried
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.lora import AdapterWeights

_POOL = 60
"""Items that are recalled before those of the other agent are taken out."""
HARM = -0.05
"""Loss of success beyond which a gift does harm."""
WHERE = ("A's places", "B's places", "new places")


AGENTS = "AB"
USES = {
    "nothing": ("---", ""),
    "own memory": ("---", "B"),
    "own memory and A's": ("---", "AB"),
    "own adapter, routed": ("-B-", ""),
    "own adapter and A's, routed": ("AB-", ""),
    "A's adapter everywhere": ("AAA", ""),
}
"""Whose adapter B uses at A's, B's and new places, - for none, and whose memory."""
Halves = tuple[dict[str, set[str]], dict[str, AdapterWeights]]
"""The places of each agent, and its adapter."""


def study(run: StudyRun) -> Sequence[Claim]:
    """Split, give, act."""
    halved = lru_cache(maxsize=1)(partial(_halved, run))  # trained once for all arms of a laboratory

    def way(adapters: str, memory: str) -> Way:
        return lambda mine: _acts(mine, halved(mine), adapters, memory)

    found = tried(run, {name: way(*uses) for name, uses in USES.items()})
    text = "Adapters are used without memory, memory without adapters."
    run.show("Success of agent B", text, rows=levels(found, "what B uses"))
    said = [
        ("adapter", "A's adapter improves another agent at A's places", "own adapter and A's, routed",
         "own adapter, routed", WHERE[0], 0.0),
        ("memory", "A's memory improves another agent at A's places", "own memory and A's", "own memory",
         WHERE[0], 0.0),
        ("adapter_own", "A's adapter, routed, does no harm at the taker's own places", "own adapter and A's, routed",
         "own adapter, routed", WHERE[1], HARM),
        ("memory_own", "A's memory does no harm at the taker's own places", "own memory and A's", "own memory",
         WHERE[1], HARM),
        ("new", "A's adapter improves another agent at places that nobody knows", "A's adapter everywhere", "nothing",
         WHERE[2], 0.0),
        ("unrouted", "A's adapter without a router does no harm at the taker's own places",
         "A's adapter everywhere", "own adapter, routed", WHERE[1], HARM),
    ]  # fmt: skip
    claims = []
    for name, text, new, old, where, threshold in said:
        measured = gained(found, new, old, where).above(threshold, f"success at {where}: {new} minus {old}")
        claims.append(run.claim(name, "ours" if "memory" in name else "synde.txt 12.3", text, **measured))
    return claims


def halves(scopes: Sequence[str]) -> tuple[set[str], set[str]]:
    """A's and B's scopes: every other one, in the order of names, so that both have some of each kind."""
    ordered = sorted(scopes)
    return set(ordered[::2]), set(ordered[1::2])


def _halved(run: StudyRun, mine: Laboratory) -> Halves:
    rows = [row for domain in rows_by_domain(mine).values() for row in domain]
    scopes = dict(zip(AGENTS, halves(sorted({row["scope"] for row in rows})), strict=True))
    groups = {agent: [row for row in rows if row["scope"] in half] for agent, half in scopes.items()}
    return scopes, adapters_of(mine.lab.base.model, groups, training(run, 2))


def _acts(mine: Laboratory, halved: Halves, adapters: str, memory: str) -> Arms:
    """B at A's, B's and new places, each with its adapter."""
    scopes, trained = halved
    where = [[task for task in mine.tasks if task.place.scope in scopes[agent]] for agent in AGENTS]
    known = {scope for agent in memory for scope in scopes[agent]}
    arms = {}
    with side_by_side(mine, list(trained.values())) as bank:
        for name, tasks, adapter in zip(WHERE, [*where, new_tasks(mine)], adapters, strict=True):
            shown = _shown(mine, tasks, known) if known else None
            routes = [AGENTS.find(adapter)] * len(tasks)
            arms[name] = sums_of(act(mine, tasks, memory=shown, bank=bank, routes=routes))
    return arms


def _shown(mine: Laboratory, tasks: Sequence[Task], scopes: set[str]) -> list[tuple[MemoryItem, ...]]:
    """What is recalled for each task from the items of some scopes alone."""
    pool = mine.lab.recall(tasks, mine.last_day, _POOL)
    return [tuple(item for item in items if item.scope in scopes)[:ITEMS] for items in pool]
