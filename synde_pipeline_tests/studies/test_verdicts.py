"""Verdict words, from intervals alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.studies.verdicts import against, exactly, together

bounds = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).map(tuple)


@pytest.mark.parametrize(
    ("interval", "threshold", "wanted", "word"),
    [
        ((0.1, 0.2), 0.0, "above", "holds"),
        ((-0.2, -0.1), 0.0, "above", "does not hold"),
        ((-0.1, 0.1), 0.0, "above", "not shown"),
        ((-0.04, 0.1), -0.05, "above", "holds"),
        ((0.1, 0.2), 0.3, "below", "holds"),
        ((0.4, 0.5), 0.3, "below", "does not hold"),
        (None, 0.0, "above", "not run"),
    ],
)
def test_an_interval_decides_by_its_side_of_the_threshold(interval, threshold, wanted, word):
    assert against(interval, threshold, wanted=wanted) == word


@given(bounds, st.floats(-1, 1))
def test_above_and_below_are_each_others_mirror(interval, threshold):
    mirrored = {"holds": "does not hold", "does not hold": "holds", "not shown": "not shown"}
    assert against(interval, threshold, wanted="below") == mirrored[against(interval, threshold)]


def test_an_identity_holds_exactly_only_where_every_error_is_within():
    assert exactly([1e-7, 1e-8], 1e-6) == "holds exactly"
    assert exactly([1e-7, 1e-2], 1e-6) == "holds under conditions"
    assert exactly([1e-2], 1e-6) == "does not hold"
    assert exactly([float("nan")], 1e-6) == "does not hold"
    assert exactly([], 1e-6) == "not run"


@pytest.mark.parametrize(
    ("words", "together_"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "does not hold"], "holds under conditions"),
        (["holds", "not shown"], "holds under conditions"),
        (["holds exactly", "holds exactly"], "holds exactly"),
        (["does not hold", "does not hold"], "does not hold"),
        (["does not hold", "not shown"], "not shown"),
        (["not shown", "not shown"], "not shown"),
        (["not run", "not run"], "not run"),
        ([], "not run"),
    ],
)
def test_several_conditions_make_one_verdict(words, together_):
    assert together(words) == together_
