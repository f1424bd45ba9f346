"""The level of a comparison: never above what was agreed on, spent by waiting, earned back by promotions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.evaluation.wealth import IMPROVEMENT, NON_INFERIOR, NOTHING, level_at, level_now
from synde_pipeline.models.registry import Champion, Decision
from synde_pipeline.settings_gate import GateConfig

CONFIG = GateConfig()


def decided(basis, cycle="web-0001", accepted=True, by="gate"):
    return Decision(cycle=cycle, accepted=accepted, reason="", model="m", adapter="a", previous="", by=by, basis=basis)


def now(*history):
    return level_now(Champion(history=history), "web", CONFIG)


@given(st.sets(st.integers(1, 30)), st.integers(31, 60))
def test_a_level_is_positive_and_never_above_the_agreed_one(hits, number):
    found = level_at(number, sorted(hits), CONFIG)
    assert 0 < found <= CONFIG.level


def test_waiting_costs_and_promotions_earn():
    waited = [level_at(k, [], CONFIG) for k in range(1, 11)]
    assert all(later < earlier for earlier, later in pairwise(waited))
    assert sum(level_at(k, [], CONFIG) for k in range(1, 2000)) < CONFIG.level * CONFIG.first_share
    assert level_at(3, [1, 2], CONFIG) > level_at(3, [1], CONFIG) > level_at(3, [], CONFIG)


def test_the_history_says_what_was_spent_and_earned():
    assert now() == level_at(1, [], CONFIG)
    assert now(decided(NOTHING, accepted=False)) == level_at(2, [], CONFIG)
    assert now(decided(IMPROVEMENT)) == level_at(2, [1], CONFIG)
    assert now(decided(NON_INFERIOR)) == level_at(2, [], CONFIG)
    # Shown better and turned down for another reason: spent, and not earned.
    assert now(decided(IMPROVEMENT, accepted=False)) == level_at(2, [], CONFIG)
    others = decided(IMPROVEMENT, "code-0001"), decided("", accepted=False), decided(IMPROVEMENT, by="person")
    assert now(*others) == level_at(1, [], CONFIG)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_share_of_false_improvements_among_all_called_better_is_within_the_level(share):
    """400 domains of 20 comparisons: some candidates are truly better, the others equal."""
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        hits, false = [], 0
        for number in range(1, 21):
            is_better = rng.random() < share
            p = rng.beta(0.05, 1) if is_better else rng.random()
            if p <= level_at(number, hits, CONFIG):
                hits.append(number)
                false += not is_better
        shares.append(false / max(len(hits), 1))
    assert np.mean(shares) <= CONFIG.level + 2 * np.std(shares) / 20
