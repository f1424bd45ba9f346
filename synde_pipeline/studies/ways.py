"""Ways to learn, each tried in the same laboratories on the same tasks: the loop over seeds, and what they reach.

A way says what acts in a laboratory; what it is tried on are its cells: without memory, with it, elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.learning import days, seeds
from synde_pipeline.studies.paired import Arms, Found, Table, act, gain, kept, level, side_by_side
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.lora import AdapterWeights

Way = Callable[[Laboratory], Arms]
Tried = Mapping[str, Sequence[Arms]]
"""Way -> its cells in the laboratory of each seed."""
Cells = Mapping[str, tuple[Sequence[Task], Sequence[tuple[MemoryItem, ...]] | None]]
"""Cell -> tasks, and the memory items that each of them is shown; None shows nothing."""

ITEMS = 3
"""Memory items that agents are shown."""
N_NEW_PLACES = 24
KEEPS = -0.05
"""Loss of success up to which something counts as kept: half of what no hint at all solves."""
NO_ADAPTERS: Mapping[str, AdapterWeights] = MappingProxyType({})


def tried(run: StudyRun, ways: Mapping[str, Way]) -> dict[str, list[Arms]]:
    """Every way in the laboratory of every seed, each kept as a part; the report gets what was solved by place."""
    with one_thread():
        labs = [_of_seed(run, ways, seed) for seed in seeds(run)]
    found = {name: [one[name] for one in labs] for name in ways}
    run.numbers["ways"] = {name: [_counts(one) for one in each] for name, each in found.items()}
    return found


def tried_together(run: StudyRun, way: Way) -> Table:
    """One way by its cells, where arms share so much that they are acted together."""
    labs = tried(run, {"arms": way})["arms"]
    return {cell: [one[cell] for one in labs] for cell in labs[0]}


def _of_seed(run: StudyRun, ways: Mapping[str, Way], seed: int) -> dict[str, Arms]:
    mine = cache(lambda: lived(run, seed, days(run))[0])  # opened if a part is missing

    def part(name: str) -> Arms:
        return kept(run, {"seed": seed, "preset": run.preset, "way": name}, lambda: ways[name](mine()))

    return {name: part(name) for name in ways}


def _counts(arms: Arms) -> dict[str, dict[str, tuple[int, int]]]:
    """Tasks solved and tried by place."""
    return {cell: {row.scope: (row.n_success, row.n_tasks) for row in rows} for cell, rows in arms.items()}


# -- what a way is tried on -----------------------------------------------------------------------------------------


def known_places(mine: Laboratory) -> Cells:
    """The laboratory's tasks by weights alone, and by both layers."""
    return {"weights": (mine.tasks, None), "dual": (mine.tasks, mine.lab.recall(mine.tasks, mine.last_day, ITEMS))}


def new_tasks(mine: Laboratory) -> list[Task]:
    """Half as many tasks on places that nobody knows."""
    day = day_number(mine.last_day) + 1
    return held_out_tasks(new_places(mine.config, N_NEW_PLACES), "report", len(mine.tasks) // 2, day)


def acted(
    mine: Laboratory, cells: Cells, adapters: Mapping[str, AdapterWeights] = NO_ADAPTERS, model: Any = None
) -> dict[str, Any]:
    """Act in every cell: the adapter of each task's domain on the base, or a merged model."""
    order = {domain: k for k, domain in enumerate(adapters)}
    found = {}
    with side_by_side(mine, list(adapters.values())) as bank:
        for cell, (tasks, memory) in cells.items():
            routes = [order.get(task.place.world.domain, NONE) for task in tasks]
            found[cell] = sums_of(act(mine, tasks, memory=memory, bank=bank, routes=routes, model=model))
    return found


# -- what they reach ------------------------------------------------------------------------------------------------


def gained(found: Tried, new: str, old: str, cell: str) -> Found:
    """Success of one way less another one's in a cell."""
    return gain([one[cell] for one in found[new]], [one[cell] for one in found[old]])


def reached(found: Tried, way: str, cell: str) -> Found:
    """Success of a way in a cell."""
    return level([one[cell] for one in found[way]])


def levels(found: Tried, head: str) -> list[dict[str, Any]]:
    """Lines of a table: for each way and cell its success and the interval; `head` is over the ways."""
    rows = []
    for way, labs in found.items():
        row: dict[str, Any] = {head: way}
        for cell in labs[0]:
            one = reached(found, way, cell)
            row |= {cell: one.value, f"{cell}, 95 %": one.interval}
        rows.append(row)
    return rows
