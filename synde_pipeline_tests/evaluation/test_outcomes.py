"""What becomes of tasks that all arms tried: exact tests, clusters, who is harmed, groups that add up."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.evaluation.outcomes import (
    NAMELESS,
    TRAINED,
    UNTRAINED,
    Tried,
    base_and_trained,
    breakdown,
    by_k,
    comparisons,
    harm,
    place_of_model,
    ratios_of,
    summarise,
)
from synde_pipeline.evaluation.stats import estimate_share, mcnemar, resamples
from synde_pipeline.evaluation.summary import ARMS
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=200)


def acted(k: int, place: str, **solved: int) -> Tried:
    """A task of the worlds; arms that are not named fail."""
    arms = {
        arm: {"n_success": solved.get(arm, 0), "n_tasks": 1, "n_steps": 4, "n_context_tokens": 3, "seconds": 0.5}
        for arm in ARMS
    }
    return Tried(f"t{k}", "web", place, TRAINED, ("item1", "item2"), "web-0001/g00", arms)


def enumerated(gained: int, lost: int) -> float:
    """Share of all fair coin sequences whose split is at least as uneven: what the test's p says, without a formula."""
    n = gained + lost
    uneven = [abs(2 * sum(flips) - n) >= abs(gained - lost) for flips in product((0, 1), repeat=n)]
    return sum(uneven) / len(uneven)


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_is_the_share_of_coin_sequences_that_are_as_uneven(gained, lost):
    assert mcnemar(gained, lost) == pytest.approx(enumerated(gained, lost))


def test_mcnemar_of_many_pairs_does_not_overflow():
    assert mcnemar(3000, 3000) == 1.0
    assert mcnemar(4000, 1000) < 1e-300


def test_pairs_are_tested_by_task_and_their_intervals_are_clustered_by_place():
    rows = [acted(k, f"site:{k % 4}", dual=1, context=k // 4 % 2) for k in range(16)]
    found = {(one["arm"], one["reference"]): one for one in comparisons(rows, CONFIG)}
    assert found["dual", "none"]["mcnemar"] == {"gained": 16, "lost": 0, "p": 2 / 2**16}
    assert found["dual", "context"]["mcnemar"] == {"gained": 8, "lost": 0, "p": 2 / 2**8}
    assert found["weights", "none"]["mcnemar"] == {"gained": 0, "lost": 0, "p": 1.0}
    success = found["dual", "context"]["metrics"]["success"]
    assert (success["value"], success["n"], success["verdict"]) == (0.5, 4, "better")
    assert found["weights", "none"]["metrics"]["success"]["verdict"] == "no difference shown"
    assert comparisons(rows[:1], CONFIG) == []  # a single place


def test_harm_and_help_name_the_task_and_what_was_in_play():
    found = harm([acted(0, "site:a", none=1, weights=1), acted(1, "site:b", dual=1), acted(2, "site:b")])
    assert [one["task_id"] for one in found["dual"]["harmed"]] == ["t0"]
    assert [one["task_id"] for one in found["dual"]["helped"]] == ["t1"]
    assert found["dual"]["harmed"][0] == {
        "task_id": "t0", "scope": "site:a", "none": 1, "dual": 0,
        "memory_items": ["item1", "item2"], "adapter": "web-0001/g00",
    }  # fmt: skip
    assert found["context"]["harmed"][0]["adapter"] == ""
    assert found["weights"] == {"harmed": [], "helped": [], "n_tasks": 3}


arms_solved = st.fixed_dictionaries({arm: st.integers(0, 1) for arm in ARMS})


@given(st.lists(st.tuples(st.integers(0, 3), arms_solved), min_size=2, max_size=30))
def test_groups_add_up_to_the_whole_and_every_task_is_harmed_helped_or_neither(drawn):
    rows = [acted(k, f"site:{place}", **solved) for k, (place, solved) in enumerate(drawn)]
    groups = breakdown(rows, lambda row: row.scope, CONFIG.model_copy(update={"min_tasks": 1}))
    assert sum(group["n_tasks"] for group in groups.values()) == len(rows)
    whole = ratios_of(rows)
    for arm in ARMS:
        top, bottom = whole[arm]["success"]
        assert top.sum() == sum(solved[arm] for _, solved in drawn)
        assert bottom.sum() == len(rows)
        assert len(top) == len({place for place, _ in drawn})
    lists = harm(rows)["dual"]
    ties = sum(solved["dual"] == solved["none"] for _, solved in drawn)
    assert len(lists["harmed"]) + len(lists["helped"]) + ties == len(rows)
    assert [Tried.of_json(row.for_json()) for row in rows] == rows


def test_a_share_that_never_varies_is_not_certain():
    rows = [acted(k, f"site:{k}", dual=1) for k in range(6)]
    found = summarise(rows, CONFIG)["arms"]
    assert found["dual"]["success"]["value"] == 1.0
    assert found["dual"]["success"]["low"] == pytest.approx(0.6097, abs=1e-3)  # Wilson's, 6 of 6 places
    assert found["none"]["success"]["high"] == pytest.approx(1 - 0.6097, abs=1e-3)
    top, bottom = ratios_of([acted(k, f"site:{k}", dual=k % 2) for k in range(6)])["dual"]["success"]
    assert estimate_share(top, bottom, resamples(6, CONFIG), 0.95).low < 0.5


def test_the_table_by_k_has_a_row_a_number_of_items_on_the_same_tasks():
    rows = [acted(k, f"site:{k % 3}", dual=1) for k in range(6)]
    pairs = {0: ("none", "weights"), 3: ("context", "dual")}
    found = by_k(
        {k: [base_and_trained(row, row.arms[a], row.arms[b]) for row in rows] for k, (a, b) in pairs.items()}, CONFIG
    )
    assert [(row["k"], row["n_tasks"]) for row in found] == [(0, 6), (3, 6)]
    assert [row["arms"]["trained"]["success"]["value"] for row in found] == [0.0, 1.0]
    assert all(set(row["arms"]) == {"base", "trained"} for row in found)


def test_a_model_knows_the_places_that_it_was_made_from_and_no_namesakes():
    trained = {("web", "site:a")}
    assert place_of_model("web", "site:a", trained) == TRAINED
    assert place_of_model("code", "site:a", trained) == UNTRAINED
    assert place_of_model("web", "", trained) == NAMELESS
