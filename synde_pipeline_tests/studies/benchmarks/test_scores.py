"""Success, differences and their intervals, against counts made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.studies.benchmarks.environments import EnvironmentTask
from synde_pipeline.studies.benchmarks.runner import Run
from synde_pipeline.studies.benchmarks.scores import difference, success


def run(number: int, solved: bool, group: str = "") -> Run:
    task = EnvironmentTask(task_id=f"x:code:{number}", text="t", group=group)
    return Run(task, "success" if solved else "failure", (), (), 10, 2, 0)


def runs(solved, groups=None) -> list[Run]:
    return [run(k, yes, f"g{groups[k]}" if groups else "") for k, yes in enumerate(solved)]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_gained_and_harmed_are_the_discordant_pairs_and_the_interval_holds_the_difference(pairs):
    mine, theirs = runs([a for a, _ in pairs]), runs([b for _, b in pairs])
    found = difference(mine, theirs)
    assert len(found["gained"]) == sum(a and not b for a, b in pairs)
    assert len(found["harmed"]) == sum(b and not a for a, b in pairs)
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["low"] < found["high"], "never certain, also where nothing differs"
    swapped = difference(theirs, mine)
    assert swapped["low"] == pytest.approx(-found["high"])


def test_no_runs_give_no_rate():
    assert success([]) == {"n": 0, "groups": 0, "n_elided": 0, "endings": {}}
    assert difference([], []) == {"n": 0, "gained": [], "harmed": []}


def test_single_tasks_have_wilsons_interval():
    found = success(runs([True] * 8 + [False] * 2))
    assert (found["success"], found["n"]) == (0.8, 10)
    # Newcombe 1998, the score method: 8 of 10.
    assert (found["low"], found["high"]) == pytest.approx((0.4902, 0.9433), abs=5e-4)


def test_tasks_of_one_group_are_one_witness():
    alone = success(runs([True, False] * 20))
    grouped = success(runs([True, False] * 20, [k // 10 + 10 * (k % 2) for k in range(40)]))
    assert grouped["groups"] == 8
    assert grouped["high"] - grouped["low"] > alone["high"] - alone["low"]


def test_what_is_partly_solved_is_not_solved():
    part = Run(run(0, True).task, "partial", (), (), 0, 0, 0)
    assert success([part])["success"] == 0
    assert success([part])["endings"] == {"partial": 1}
