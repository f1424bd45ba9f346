"""Laboratories as studies see them: adapters that are lent to other places, and settings that are read from a home."""

import os
from collections.abc import Iterator
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.settings import SimulationConfig, load
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.studies.worlds import Laboratory, lent_routes
from synde_pipeline_tests.simulation.demo_process import small

TASKS = {seed: held_out_tasks(places(SimulationConfig(seed=seed, places=8), 1), "report", 32, day=2) for seed in (1, 2)}


def laboratory(seed: int, routes: list[int]) -> Laboratory:
    """Only what routing looks at."""
    return Laboratory(lab=None, tasks=TASKS[seed], last_day=date(2025, 1, 1), adapters=[], routes=routes)


def routes_by_domain(seed: int) -> Iterator[int]:
    domains = sorted({task.place.world.domain for task in TASKS[seed]})
    return (domains.index(task.place.world.domain) for task in TASKS[seed])


@given(st.lists(st.booleans(), min_size=32, max_size=32))
def test_a_foreign_adapter_is_of_the_tasks_own_domain_and_a_place_has_one(has_adapter):
    lent = [route if has else -1 for route, has in zip(routes_by_domain(2), has_adapter, strict=True)]
    found = lent_routes(TASKS[1], laboratory(2, lent))
    own = list(routes_by_domain(1))
    assert all(route in (-1, domain) for route, domain in zip(found, own, strict=True))
    # None is borrowed only where the other laboratory has none for the domain.
    assert all((route == -1) == (domain not in lent) for route, domain in zip(found, own, strict=True))
    by_place = {}
    for task, route in zip(TASKS[1], found, strict=True):
        assert by_place.setdefault(task.place.scope, route) == route


def test_settings_of_a_home_are_read_without_touching_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNDE_HOME", "/elsewhere")
    settings = small(tmp_path)
    assert load(settings.home).simulation == settings.simulation
    assert load(settings.home).home == settings.home
    assert os.environ["SYNDE_HOME"] == "/elsewhere"
