"""Intervals: against formulas that have nothing to do with the bootstrap, and coverage on known truth."""

import numpy as np
import pytest

from synde_pipeline.evaluation.stats import Estimate, estimate, paired_difference, resamples, verdict
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=4000)


def test_the_standard_error_of_a_mean_over_tasks_is_the_textbooks():
    values = np.random.default_rng(1).normal(3, 2, 200)
    found = estimate(values, np.ones(200), resamples(200, CONFIG), 0.95)
    assert found.value == pytest.approx(values.mean())
    assert found.se == pytest.approx(values.std() / np.sqrt(200), rel=0.05)
    assert found.n == 200


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    draws = resamples(40, EvaluationConfig(bootstrap=500))
    covered = 0
    for _ in range(400):
        weights = rng.integers(1, 20, 40).astype(float)
        found = estimate(weights * rng.normal(1, 0.5, 40), weights, draws, 0.95)
        covered += found.low <= 1 <= found.high
    assert 0.88 <= covered / 400 <= 0.98


def test_clustering_by_task_widens_the_interval_of_steps_that_agree_within_a_task():
    per_task = np.random.default_rng(3).integers(0, 2, 30).astype(float)
    clustered = estimate(per_task * 50, np.full(30, 50.0), resamples(30, CONFIG), 0.95)
    as_if_free = estimate(np.repeat(per_task, 50), np.ones(1500), resamples(1500, EvaluationConfig()), 0.95)
    assert clustered.se > 5 * as_if_free.se


def test_a_paired_difference_is_sharper_than_two_separate_intervals():
    rng = np.random.default_rng(4)
    hard = rng.normal(5, 3, 30)
    ones, draws = np.ones(30), resamples(30, CONFIG)
    better = hard - 0.5 + rng.normal(0, 0.1, 30)
    found = paired_difference((better, ones), (hard, ones), draws, 0.95)
    assert found.value == pytest.approx(-0.5, abs=0.1)
    assert found.high < 0
    assert found.se < estimate(hard, ones, draws, 0.95).se / 5


def test_equal_arms_show_no_difference():
    values, ones = np.arange(1.0, 21.0), np.ones(20)
    found = paired_difference((values, ones), (values, ones), resamples(20, CONFIG), 0.95)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert verdict(found, lower_is_better=True) == "no difference shown"


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "expected"),
    [
        (-2, -1, True, "better"),
        (-2, -1, False, "worse"),
        (1, 2, True, "worse"),
        (1, 2, False, "better"),
        (-1, 2, True, "no difference shown"),
    ],
)
def test_a_verdict_follows_from_the_interval_alone(low, high, lower_is_better, expected):
    found = Estimate((low + high) / 2, 0.1, low, high, 20)
    assert verdict(found, lower_is_better=lower_is_better) == expected
