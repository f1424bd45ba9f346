"""An agent's adapter or memory given to another agent: at places that the giver knows, the taker knows, nobody knows.

Half of a laboratory's places are agent A's, the other half agent B's: each has the memory items and the adapter of its
own half. B is then given what A has, and tried at A's places, at its own, and at places that neither ever saw.
"""

from collections.abc import Sequence
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.trials import (
    Sums,
    act,
    adapters_of,
    as_json,
    days,
    from_json,
    gain,
    over,
    rows_by_domain,
    seeds,
    training,
    what,
)
from synde_pipeline.studies.verdicts import against
from synde_pipeline.studies.worlds import Laboratory

ITEMS = 3
_POOL = 60
"""Items that are recalled before those of the other agent are taken out."""
HARM = -0.05
"""Loss of success beyond which a gift does harm."""
WHERE = ("A's places", "B's places", "new places")


def study(run: StudyRun) -> Sequence[Claim]:
    """Split, give, act."""
    found = []
    for seed in seeds(run):
        laboratory, _ = lived(run, seed, days(run))
        key = {"seed": seed, "days": days(run), "training": training(run).model_dump()}
        found.append(run.part(key, lambda lab=laboratory: _one_seed(run, lab)))
    run.numbers["seeds"] = found
    rows = []
    for arm in found[0]:
        row: dict[str, Any] = {"what B uses": arm}
        for where in WHERE:
            one = over(_runs(found, arm, where))
            row |= {where: one["measured"], f"{where}, 95 %": one["error"]}
        rows.append(row)
    run.show("Success of agent B", "Adapters are used without memory, memory without adapters.", rows=rows)
    return _claims(run, found)


def halves(scopes: Sequence[str]) -> tuple[set[str], set[str]]:
    """A's and B's scopes: every other one, in the order of names, so that both have some of each kind."""
    ordered = sorted(scopes)
    return set(ordered[::2]), set(ordered[1::2])


def _one_seed(run: StudyRun, laboratory: Laboratory) -> dict[str, dict[str, Any]]:
    with one_thread():
        rows = [row for domain in rows_by_domain(laboratory).values() for row in domain]
        mine, other = halves(sorted({row["scope"] for row in rows}))
        groups = [[row for row in rows if row["scope"] in half] for half in (mine, other)]
        adapters = adapters_of(laboratory.lab.base.model, groups, training(run, 2))
        tasks = _tasks(laboratory, mine, other)
        found: dict[str, dict[str, Any]] = {}

        def add(arm: str, index: Sequence[int] | None, scopes: set[str] | None) -> None:
            """`index`: adapter at A's, B's and new places."""
            found[arm] = {}
            for k, where in enumerate(WHERE):
                shown: Any = 0 if scopes is None else _shown(laboratory, tasks[where], scopes)
                routed = None if index is None else (adapters, [index[k]] * len(tasks[where]))
                found[arm][where] = as_json(act(laboratory, tasks[where], items=shown, adapters=routed))

        add("nothing", None, None)
        add("own memory", None, other)
        add("own memory and A's", None, mine | other)
        add("own adapter, routed", (-1, 1, -1), None)
        add("own adapter and A's, routed", (0, 1, -1), None)
        add("A's adapter everywhere", (0, 0, 0), None)
        return found


def _tasks(laboratory: Laboratory, mine: set[str], other: set[str]) -> dict[str, list[Task]]:
    config = laboratory.lab.settings.simulation
    assert config is not None  # noqa: S101 - a laboratory
    day = day_number(laboratory.last_day) + 1
    new = held_out_tasks(new_places(config, 24), "report", len(laboratory.tasks) // 2, day)
    by_half = [[task for task in laboratory.tasks if task.place.scope in half] for half in (mine, other)]
    return dict(zip(WHERE, [*by_half, new], strict=True))


def _shown(laboratory: Laboratory, tasks: Sequence[Task], scopes: set[str]) -> list[tuple[MemoryItem, ...]]:
    """What is recalled for each task from the items of some scopes alone."""
    pool = laboratory.lab.recall(tasks, laboratory.last_day, _POOL)
    return [tuple(item for item in items if item.scope in scopes)[:ITEMS] for items in pool]


def _runs(found: Sequence[dict[str, Any]], arm: str, where: str) -> list[Sums]:
    return [from_json(one[arm][where]) for one in found]


def _claims(run: StudyRun, found: Sequence[dict[str, Any]]) -> list[Claim]:
    def difference(new: str, old: str, where: str) -> dict[str, Any]:
        return gain(list(zip(_runs(found, new, where), _runs(found, old, where), strict=True)))

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
        one = difference(new, old, where)
        verdict = against(one["error"], threshold)
        measured = what(run, f"success at {where}: {new} minus {old}")
        claims.append(run.claim(name, "synde.txt 12.3", text, **one, verdict=verdict, what=measured))
    return claims
