"""What an evaluation by acting adds up: sums by place, the contract's flat numbers, signs, and states as hashes."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.base_model import pin_given
from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.evaluation.due import is_due
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import arms_table, measured, publish, rows_of
from synde_pipeline.models.registry import champion, promote
from synde_pipeline.settings import EvaluationConfig, SimulationConfig
from synde_pipeline.simulation.acting import (
    PlaceSums,
    compare,
    rows_for_json,
    rows_from_json,
    summary,
    sums_of,
)
from synde_pipeline.simulation.agent import Run, Turn
from synde_pipeline.simulation.evaluate import evaluate_cycle
from synde_pipeline.simulation.final import state_hash
from synde_pipeline.simulation.lab import Timed
from synde_pipeline.simulation.loop import DAYS, publish_json
from synde_pipeline.simulation.tasks import date_of, held_out_tasks, places
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.models.test_bank import trained
from synde_pipeline_tests.models.test_registry import cycle, model
from synde_pipeline_tests.simulation.demo_process import small

CONFIG = EvaluationConfig(bootstrap=400)
TASKS = held_out_tasks(places(SimulationConfig(seed=4, places=4), 1), "report", 12, day=2)
TURN = Turn("start nav", "site", "nav", "search", "open", True)


def run(task, n_turns=3, n_context_tokens=0, *, is_success=False):
    return Run(task, (), n_context_tokens, is_success, [TURN] * n_turns)


def sums(*solved, n_tasks=4, n_steps=20, n_context_tokens=0, seconds=0.5):
    """One row a place, with so many tasks solved."""
    return [PlaceSums(f"site:{k}", n, n_tasks, n_steps, n_context_tokens, seconds) for k, n in enumerate(solved)]


# -- sums -----------------------------------------------------------------------------------------------------------


def test_runs_add_up_by_place_in_the_order_of_scopes():
    runs = [run(task, n_turns=k % 5, n_context_tokens=k, is_success=k % 3 == 0) for k, task in enumerate(TASKS)]
    found = sums_of(Timed(runs, cpu_s=6.0))
    scopes = sorted({task.place.scope for task in TASKS})
    assert [row.scope for row in found] == scopes
    assert len(scopes) == 4
    for row in found:
        here = [k for k, task in enumerate(TASKS) if task.place.scope == row.scope]
        assert row.n_tasks == len(here) == 3
        assert row.n_success == sum(k % 3 == 0 for k in here)
        assert row.n_steps == sum(k % 5 for k in here)
        assert row.n_context_tokens == sum(here)
        assert row.seconds == pytest.approx(1.5)
    assert sum(run.is_success for run in runs) == 4
    assert sums_of(Timed(runs[::-1], cpu_s=6.0)) == found


def test_no_runs_are_no_places():
    assert sums_of(Timed([], cpu_s=0.1)) == []


# -- summary --------------------------------------------------------------------------------------------------------


def test_an_arm_has_the_contracts_flat_numbers_and_the_intervals_beside_them():
    rows = {"none": sums(1, 2, 3), "dual": sums(2, 3, 4, n_steps=16, n_context_tokens=100)}
    found = summary(rows, CONFIG)
    none, dual = found["arms"]["none"], found["arms"]["dual"]
    assert {"success", "n", "se", "context_tokens", "latency_ms", "steps"} <= dual.keys()
    assert all(isinstance(none[name], int | float) for name in ("success", "n", "se", "steps"))
    assert (none["success"], none["n"], none["n_places"], none["steps"]) == (0.5, 12, 3, 5.0)
    assert (dual["success"], dual["steps"], dual["context_tokens"]) == (0.75, 4.0, 25.0)
    assert none["latency_ms"] == 125.0
    for values in (none, dual):
        success, steps = values["intervals"]["success"], values["intervals"]["steps"]
        assert (success["value"], success["se"], steps["value"]) == (values["success"], values["se"], values["steps"])
        assert success["low"] <= success["value"] <= success["high"]
        assert success["n"] == 3  # the independent units are places
        assert measured(values) == values["intervals"]


def test_differences_are_paired_with_none_and_know_which_way_is_better():
    rows = {"none": sums(1, 2, 3), "context": sums(1, 2, 3), "dual": sums(2, 3, 4, n_steps=16)}
    found = summary(rows, CONFIG)["differences"]
    assert set(found) == {"context", "dual"}
    assert found["dual"]["success"]["value"] == 0.25
    assert found["dual"]["success"]["se"] == pytest.approx(0)  # every place gains alike: places cancel out
    assert found["dual"]["success"]["against_none"] == "better"
    assert (found["dual"]["steps"]["value"], found["dual"]["steps"]["against_none"]) == (-1.0, "better")
    assert found["context"]["success"]["against_none"] == "no difference shown"


def test_a_single_place_is_no_evidence():
    found = summary({arm: sums(2) for arm in ARMS}, CONFIG)
    assert all(set(values) == {"n", "note"} for values in found["arms"].values())
    assert found["differences"] == {}


def test_a_domain_without_places_has_a_note_instead_of_numbers():
    found = summary({arm: [] for arm in ARMS}, CONFIG)
    assert found["arms"]["dual"] == {"n": 0, "note": "not enough tasks (n=0, needs 2)"}
    assert "not enough tasks" in arms_table(found)


def test_foreign_logs_in_a_laboratory_are_trained_and_reported_but_give_no_evidence(tmp_path):
    settings = small(tmp_path)
    warehouse = Warehouse(settings.warehouse)
    base = pin_given(warehouse, settings)
    foreign, header = trained(warehouse, date_of(1), "site:a", domain="library", config=settings)
    report = evaluate_cycle(warehouse, foreign, settings)
    publish(warehouse, foreign.key, report, {"merged_models": header.content_hash})
    assert report["arms"]["dual"]["n"] == report["evaluation"]["n_places"] == 0
    assert decide(warehouse, foreign, base.content_hash).accepted is None
    assert not is_due(warehouse, foreign)


def test_the_table_reads_the_intervals_of_flat_arms():
    found = summary({"none": sums(1, 2, 3), "dual": sums(2, 3, 4)}, CONFIG)
    none, dual = rows_of(found, ("none", "dual"))
    assert none["success"].startswith("0.500 [")
    assert dual["success_difference"].startswith("+0.250 [")
    assert "clustered by place" in arms_table(found, arms=("none", "dual"))


# -- comparing ------------------------------------------------------------------------------------------------------


def test_the_sign_of_a_comparison_says_whether_the_first_one_solves_more():
    weak, strong = sums(0, 1, 1, 2), sums(2, 3, 4, 4)
    better, word = compare(strong, weak, CONFIG)
    assert (better.value, word) == (9 / 16, "better")
    worse, word = compare(weak, strong, CONFIG)
    assert (worse.value, word) == (-9 / 16, "worse")
    assert (better.low, better.high) == (pytest.approx(-worse.high), pytest.approx(-worse.low))
    assert 0 < better.low <= better.value <= better.high


def test_equal_models_and_mixed_places_show_no_difference():
    same, word = compare(sums(1, 3), sums(1, 3), CONFIG)
    assert (same.value, same.se, word) == (0.0, 0.0, "no difference shown")
    mixed, word = compare(sums(4, 0, 4, 0, 2), sums(0, 4, 0, 4, 1), CONFIG)
    assert mixed.value > 0
    assert word == "no difference shown"


# -- a report's rows ------------------------------------------------------------------------------------------------

counts = st.integers(0, 10**6)
place_sums = st.builds(PlaceSums, st.text(max_size=8), counts, counts, counts, counts, st.floats(0, 1e6))


@given(st.integers(0, 4).flatmap(lambda n: st.lists(place_sums, min_size=4 * n, max_size=4 * n)))
def test_rows_come_back_from_json_as_they_went(drawn):
    n = len(drawn) // 4
    rows = {
        arm: [replace(row, scope=first.scope) for row, first in zip(drawn[k * n : k * n + n], drawn[:n], strict=True)]
        for k, arm in enumerate(ARMS)
    }
    stored = rows_for_json(rows)
    assert [place["place"] for place in stored] == [row.scope for row in rows["none"]]
    assert rows_from_json(json.loads(json.dumps(stored))) == rows


# -- the state of a warehouse ---------------------------------------------------------------------------------------


def lived(warehouse, day=1, **changed):
    """Publish a day's document, as the loop does."""
    (row,) = sums(2)
    arms = {"none": {"success": 0.5, "latency_ms": 3.0}}
    value = {"arms": arms, "places": [{"place": row.scope, "arms": {"none": asdict(replace(row, **changed))}}]}
    publish_json(warehouse, DAYS, f"2025-01-0{day}", ("day.json", value), {"raw_logs": "a"})
    return state_hash(warehouse)


def test_the_state_changes_with_what_was_measured_and_not_with_how_long_it_took(warehouse):
    first = lived(warehouse)
    assert lived(warehouse, seconds=99.0) == first
    assert lived(warehouse, n_success=3) != first
    assert lived(warehouse) == first


def test_the_state_changes_with_every_artefact_and_partition_and_forgets_what_is_gone(warehouse):
    first = lived(warehouse)
    second = lived(warehouse, day=2)
    model(warehouse, 1)
    third = state_hash(warehouse)
    model(warehouse, 1, version="b")
    assert len({first, second, third, state_hash(warehouse)}) == 4
    for artefact, key in (("merged_models", "web-0001"), (DAYS, "2025-01-02")):
        (warehouse.path(artefact, key) / "current.json").unlink()
    assert state_hash(warehouse) == first


def test_the_state_changes_with_what_is_served(warehouse):
    header = model(warehouse, 1)
    before = state_hash(warehouse)
    promote(warehouse, cycle(1), header, "better")
    after = state_hash(warehouse)
    assert after != before
    promote(warehouse, cycle(1), header, "better")
    assert state_hash(warehouse) == after
    assert champion(warehouse).domains["web"].model == header.content_hash
