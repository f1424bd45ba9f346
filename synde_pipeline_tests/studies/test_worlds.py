"""The study of layers in lived laboratories: foreign routes, tables, and (slow) all its rows on a small laboratory."""

import os
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.settings import SimulationConfig, load
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.studies.worlds import Laboratory, _foreign_routes, study, table
from synde_pipeline_tests.simulation.demo_process import demo, small

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
    found = _foreign_routes(laboratory(1, []), laboratory(2, lent))
    own = list(routes_by_domain(1))
    assert all(route in (-1, domain) for route, domain in zip(found, own, strict=True))
    # None is borrowed only where the other laboratory has none for the domain.
    assert all((route == -1) == (domain not in lent) for route, domain in zip(found, own, strict=True))
    by_place = {}
    for task, route in zip(TASKS[1], found, strict=True):
        assert by_place.setdefault(task.place.scope, route) == route


def test_the_table_has_a_line_a_row_with_every_laboratory_and_their_mean():
    one = {"base, 0 items": {"success": 0.25, "se": 0.01}, "base, 3 items": {"success": 0.5, "se": 0.02}}
    other = {"base, 0 items": {"success": 0.75, "se": 0.03}, "base, 3 items": {"success": 1.0, "se": 0.0}}
    lines = table([one, other]).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["base, 0 items", "base, 3 items"]
    assert lines[0].split()[3:] == ["0.250", "(0.010)", "0.750", "(0.030)", "mean", "0.500"]
    assert lines[1].endswith("mean 0.750")


def test_settings_of_a_home_are_read_without_touching_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNDE_HOME", "/elsewhere")
    settings = small(tmp_path)
    assert load(settings.home).simulation == settings.simulation
    assert load(settings.home).home == settings.home
    assert os.environ["SYNDE_HOME"] == "/elsewhere"


@pytest.mark.slow
def test_every_row_of_the_study_on_a_small_laboratory(tmp_path):
    before = os.environ["SYNDE_HOME"]
    settings = demo(tmp_path, 2).settings
    mine = Laboratory.open(settings, n_tasks=16)
    assert len(mine.tasks) == len(mine.routes) == 16
    assert {route for route in mine.routes if route >= 0} <= set(range(len(mine.adapters)))
    stored = {path: path.read_bytes() for path in settings.warehouse.rglob("*") if path.is_file()}
    found = study(mine, mine)
    assert os.environ["SYNDE_HOME"] == before
    assert stored == {path: path.read_bytes() for path in settings.warehouse.rglob("*") if path.is_file()}
    named = {name.rsplit(",", 1)[0] for name in found}
    forms = {"merged, sum of the bank", "merged, mean of the bank", "one adapter for all", "preset paper"}
    assert named == {"base", "routed bank", "adapters of other places", *forms}
    for row in found.values():
        assert 0 <= row["low"] <= row["success"] <= row["high"] <= 1
        assert row["n"] == 16
        assert row["places"] == len({task.place.scope for task in mine.tasks})
    assert any(route >= 0 for route in mine.routes)
    assert table([found]).count("\n") == len(found) - 1
