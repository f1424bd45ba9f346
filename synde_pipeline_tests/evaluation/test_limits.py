"""The router's limits: found where planted, none where nothing is shown, and never laxer than the evidence."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.evaluation.limits import FEWEST, Tried, fit
from synde_pipeline.models.decide import Limits
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=400)


def tasks(weights, context, dual, n_units=40, each=50, seed=0):
    """Tasks whose success is drawn by functions of familiarity."""
    chance = np.random.default_rng(seed)
    found = []
    for unit in range(n_units):
        for _ in range(each):
            near, draw = chance.random(), chance.random()
            found.append(Tried(near, f"site:{unit}", *(float(draw < rate(near)) for rate in (weights, context, dual))))
    return found


def test_a_planted_limit_is_found_from_both_sides():
    rows = tasks(lambda x: 0.9 if x > 0.6 else 0.2, lambda x: 0.9 if x < 0.3 else 0.2, lambda _: 0.9)
    limits = fit(rows, CONFIG)
    assert 0.6 < limits.known < 0.7
    assert 0.15 < limits.novel < 0.3


def test_nothing_is_known_where_weights_alone_are_worse_everywhere():
    assert fit(tasks(lambda _: 0.5, lambda _: 0.5, lambda _: 0.9), CONFIG) == Limits(None, None)


def test_where_weights_alone_are_as_good_everywhere_they_are_enough_everywhere():
    rows = tasks(lambda _: 0.9, lambda _: 0.9, lambda _: 0.9)
    limits = fit(rows, CONFIG)
    assert limits.known == min(row.familiarity for row in rows)
    assert limits.novel == limits.known


def test_few_places_show_nothing():
    rows = tasks(lambda _: 0.9, lambda _: 0.9, lambda _: 0.9, n_units=FEWEST - 1)
    assert fit(rows, CONFIG) == Limits(None, None)
    assert fit([], CONFIG) == Limits(None, None)


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_limits_are_cosines_that_were_seen_and_never_cross(seed, a, b):
    rows = tasks(lambda x: a if x > 0.5 else b, lambda x: b if x > 0.5 else a, lambda _: max(a, b), 12, 4, seed)
    known, novel = fit(rows, CONFIG)
    low, high = min(row.familiarity for row in rows), max(row.familiarity for row in rows)
    for limit in (known, novel):
        assert limit is None or low <= limit <= high + 1e-9
    if known is not None and novel is not None:
        assert novel <= known


def test_where_weights_lose_more_than_the_margin_a_limit_is_seldom_given():
    wrong = sum(
        fit(tasks(lambda _: 0.7, lambda _: 0.9, lambda _: 0.8, 24, 4, seed), CONFIG).known is not None
        for seed in range(60)
    )
    assert wrong <= 3
