"""Which places there are on a day, which tasks the agent gets there, and the tasks that only evaluations use.

Everything follows from the seed: a day that is rolled out again gets the same tasks.
"""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

from synde_pipeline.errors import InputError
from synde_pipeline.records import Split, split_of
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.worlds.base import HELD_OUT, Place, Rules, Task
from synde_pipeline.simulation.worlds.registry import WORLDS

FIRST_DAY = date(2025, 1, 1)
"""Date of the simulation's day 1."""


MOST_PLACES = len(HELD_OUT) - 64
"""Names that days may use; the rest are for `new_places`."""


def day_number(day: date) -> int:
    """1 for the first day of the simulation."""
    return (day - FIRST_DAY).days + 1


def date_of(number: int) -> date:
    """Date of a day of the simulation, counted from 1."""
    return FIRST_DAY + timedelta(days=number - 1)


def rules_of(config: SimulationConfig) -> Rules:
    """The worlds' rules as the settings give them."""
    return Rules(config.n_facts, config.transient_rate, config.decoy_rate, config.drift_day, config.drift_share)


@lru_cache(maxsize=64)
def _names(seed: int) -> tuple[str, ...]:
    names = list(HELD_OUT)
    random.Random(f"places:{seed}").shuffle(names)  # noqa: S311 - a simulation, no secret
    return tuple(names)


def places(config: SimulationConfig, day: int) -> list[Place]:
    """Places that the agent visits on a day: the first day's, and the ones that opened since.

    Half of them are sites, a quarter each repositories and notebooks (simulation notes, section 1).

    Raises:
        InputError: there are not so many names.
    """
    n = config.places + (day - 1) * config.new_places_per_day
    if n > MOST_PLACES:
        raise InputError(f"{n} places on day {day}", expected=f"at most {MOST_PLACES}", remedy="fewer places, or days")
    return _take(config, range(n))


def new_places(config: SimulationConfig, n: int) -> list[Place]:
    """Places that the agent never visits: for evaluations on what is new."""
    # From the far end of the list: no day reaches it.
    return _take(config, range(len(HELD_OUT) - n, len(HELD_OUT)))


def _take(config: SimulationConfig, numbers: Sequence[int]) -> list[Place]:
    order = ("web", "code", "web", "math")
    names, rules = _names(config.seed), rules_of(config)
    return [Place(WORLDS[order[k % len(order)]], names[k], config.seed, rules) for k in numbers]


def tasks_of_day(config: SimulationConfig, day: int) -> list[Task]:
    """The tasks of a day: every place in turn, a thing by chance, each task new."""
    chance = random.Random(f"tasks:{config.seed}:{day}")  # noqa: S311 - a simulation, no secret
    here = places(config, day)
    first = (day - 1) * config.episodes_per_day
    return [
        Task(here[(first + k) % len(here)], chance.choice(here[(first + k) % len(here)].world.things), first + k, day)
        for k in range(config.episodes_per_day)
    ]


def held_out_tasks(where: Sequence[Place], split: Split, n: int, day: int) -> list[Task]:
    """`n` tasks of a split that no day hands out, evenly over the places.

    Args:
        where: the places.
        split: `gate` or `report`; tasks of other splits are passed over.
        n: how many tasks.
        day: day of the simulation on which they are tried; conventions may drift.
    """
    chance = random.Random(f"{split}:{where[0].seed if where else 0}")  # noqa: S311 - a simulation, no secret
    tasks: list[Task] = []
    number = 10**6  # days hand out smaller numbers
    while len(tasks) < n and where:
        place = where[len(tasks) % len(where)]
        number += 1
        task = Task(place, chance.choice(place.world.things), number, day)
        if split_of(task.task_id) == split:
            tasks.append(task)
    return tasks
