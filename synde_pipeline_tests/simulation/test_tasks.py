"""Tasks follow from the seed, and what evaluations try is never handed out by a day."""

from synde_pipeline.records import split_of
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, new_places, places, tasks_of_day

CONFIG = SimulationConfig(seed=3, new_places_per_day=2)


def test_a_day_gets_the_same_new_tasks_whenever_it_is_asked():
    days = [tasks_of_day(CONFIG, day) for day in range(1, 6)]
    assert days == [tasks_of_day(CONFIG, day) for day in range(1, 6)]
    ids = [task.task_id for day in days for task in day]
    assert len(set(ids)) == len(ids) == 5 * CONFIG.episodes_per_day
    assert {task.day for task in days[3]} == {4}


def test_places_stay_and_new_ones_open_every_day():
    first, third = places(CONFIG, 1), places(CONFIG, 3)
    assert third[: len(first)] == first
    assert len(third) == len(first) + 4
    assert [place.world.domain for place in first].count("web") == len(first) // 2
    assert {task.place for task in tasks_of_day(CONFIG, 3)} == set(third)


def test_held_out_tasks_are_of_their_split_on_all_places_and_of_no_day():
    here = places(CONFIG, 1)
    report, gate = (held_out_tasks(here, split, 96, 2) for split in ("report", "gate"))
    assert {split_of(task.task_id) for task in report} == {"report"}
    assert {split_of(task.task_id) for task in gate} == {"gate"}
    assert {task.place for task in report} == set(here)
    handed_out = {task.task_id for day in range(1, 40) for task in tasks_of_day(CONFIG, day)}
    assert not handed_out & {task.task_id for task in [*report, *gate]}


def test_new_places_are_never_visited():
    known = {place.name for place in places(CONFIG, 200)}
    assert not known & {place.name for place in new_places(CONFIG, 24)}


def test_days_count_from_one():
    assert [day_number(date_of(k)) for k in (1, 2, 40)] == [1, 2, 40]
