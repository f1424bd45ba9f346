"""Paired comparisons: rates and differences over seeds and over places, and verdicts made of several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.paired import (
    better_of_both,
    difference,
    gain,
    inside,
    level,
    merged,
    nothing,
    over_seeds,
    pairs,
    span,
)
from synde_pipeline.studies.verdicts import CONDITIONS, EXACTLY, HOLDS, NOT, NOT_RUN, UNDECIDED, all_of


def arm(*successes: int, n: int = 10) -> list[PlaceSums]:
    return [PlaceSums(f"site:{k}", hits, n, 3 * n, 0, 0.0) for k, hits in enumerate(successes)]


def test_three_laboratories_give_students_interval_over_them():
    # By hand: means .2 .4 .6, spread .2, half width 4.30 * .2 / sqrt(3).
    found = level([arm(2, 2), arm(4, 4), arm(6, 6)])
    assert found.value == pytest.approx(0.4)
    assert found.interval == pytest.approx((0.4 - 4.30 * 0.2 / 3**0.5, 0.4 + 4.30 * 0.2 / 3**0.5))
    assert (found.n, "seeds" in found.units) == (3, True)
    paired = gain([arm(4, 4), arm(6, 6), arm(8, 8)], [arm(2, 2), arm(4, 4), arm(6, 6)])
    assert paired.interval == pytest.approx((0.2, 0.2))  # every laboratory gains the same


def test_one_laboratory_gives_an_interval_over_its_places():
    found = gain([arm(9, 8, 9, 7, 9, 8)], [arm(1, 2, 3, 1, 2, 1)])
    assert found.value == pytest.approx((50 - 10) / 60)
    assert found.n == 6
    low, high = found.interval
    assert 0.4 < low < found.value < high < 0.9
    assert "places" in found.units


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=4, max_size=12))
def test_an_arm_against_itself_gains_nothing(counts):
    rows = [arm(*(first for first, _ in counts), n=8)]
    assert gain(rows, rows).interval == (0.0, 0.0)
    other = [arm(*(second for _, second in counts), n=8)]
    there, back = gain(rows, other), gain(other, rows)
    assert there.value == pytest.approx(-back.value)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_places_that_one_side_lacks_count_on_the_other_side_alone():
    new, old = [(5.0, 10.0), (9.0, 10.0), (0.0, 0.0)], [(0.0, 0.0), (1.0, 10.0), (2.0, 10.0)]
    found = difference([new], [old])
    assert found.value == pytest.approx(14 / 20 - 3 / 20)
    assert np.isfinite(found.interval).all()


def test_rows_of_a_place_are_added_up_and_missing_places_are_zero():
    found = merged([*arm(1, 2), *arm(3, 4)], ["site:1", "site:9"])
    assert [(row.scope, row.n_success, row.n_tasks) for row in found] == [
        ("site:0", 4, 20), ("site:1", 6, 20), ("site:9", 0, 0),
    ]  # fmt: skip
    assert pairs(found, times=0.5) == [(2.0, 20), (3.0, 20), (0.0, 0)]


def test_the_smallest_lead_decides_and_every_one_must_hold():
    dual, context, weights = [arm(9, 9, 9, 9)], [arm(8, 8, 8, 8)], [arm(3, 3, 3, 3)]
    found, verdict = better_of_both(dual, context, weights)
    assert (found.value, verdict) == (pytest.approx(0.1), HOLDS)
    _, verdict = better_of_both(dual, [arm(10, 10, 10, 10)], weights)
    assert verdict == NOT
    _, verdict = better_of_both(dual, dual, weights)
    assert verdict == UNDECIDED


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, EXACTLY], HOLDS),
        ([HOLDS, UNDECIDED], UNDECIDED),
        ([HOLDS, CONDITIONS], CONDITIONS),
        ([UNDECIDED, NOT], NOT),
        ([HOLDS, NOT_RUN], NOT_RUN),
        ([], NOT_RUN),
    ],
)
def test_conditions_that_must_hold_together(words, said):
    assert all_of(words) == said


def test_a_predicted_range():
    assert inside((0.16, 0.19), 0.15, 0.2) == HOLDS
    assert inside((0.3, 0.4), 0.15, 0.2) == NOT
    assert inside((0.16, 0.25), 0.15, 0.2) == UNDECIDED
    assert inside(None, 0.15, 0.2) == NOT_RUN


def test_what_has_no_interval_says_so():
    assert over_seeds([0.1, 0.2]).interval is None
    assert over_seeds([]).value is None
    assert span([1.0, 3.0]).interval == (1.0, 3.0)
    said = nothing("no device")
    assert (said["measured"], said["error"], said["n"], said["verdict"]) == (None, None, 0, NOT_RUN)
    assert said["what"] == "no device"
