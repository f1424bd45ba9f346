"""Paired tests hold their level where the gate uses them, have power, and say nothing where there is nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.evaluation.paired import Pairs, lower_bound, mcnemar, p_value, t_tail, unconditional

N = 200
"""Simulated comparisons; of 200 at .05, 10 are expected and 18 or more come by chance once in 80 times."""


def most(level: float) -> float:
    """The share of N that a test of exactly this level exceeds once in a hundred times."""
    tail = [sum(math.comb(N, j) * level**j * (1 - level) ** (N - j) for j in range(k, N + 1)) for k in range(N + 1)]
    return next(k for k, p in enumerate(tail) if p < 0.01) / N


def drawn(rng, places: int, tasks: int, *, better: float, worse: float, spread: float = 0.0) -> Pairs:
    """Tasks at places: each solved by one model alone with these chances, which a place's own effect shifts."""
    gain, where = [], []
    for place in range(places):
        shift = rng.normal(0, spread) / 2
        up, down = np.clip(better + shift, 0, 1), np.clip(worse - shift, 0, 1)
        u = rng.random(tasks)
        gain += list(np.where(u < up, 1.0, np.where(u > 1 - down, -1.0, 0.0)))
        where += [f"site:{place}"] * tasks
    return Pairs.of(gain, [1.0] * len(gain), where)


def measured(rng, tasks: int, mean: float) -> Pairs:
    """Nats by task, which have lengths of their own."""
    size = rng.integers(5, 60, tasks).astype(float)
    return Pairs.of(list(size * (mean + rng.normal(0, 0.2, tasks))), list(size), [f"t{k}" for k in range(tasks)])


SCENES = [(12, 24, 0.02, 0.0), (12, 12, 0.1, 0.0), (12, 12, 0.1, 0.15), (6, 24, 0.1, 0.15), (3, 32, 0.1, 0.1)]


@pytest.mark.parametrize(("places", "tasks", "share", "spread"), SCENES)
def test_of_200_comparisons_of_equals_no_more_are_called_better_than_the_level_says(places, tasks, share, spread):
    rng = np.random.default_rng(places * 100 + tasks)
    ps = [p_value(drawn(rng, places, tasks, better=share, worse=share, spread=spread)) for _ in range(N)]
    for level in (0.05, 0.01):
        assert np.mean(np.array(ps) <= level) <= most(level)


@pytest.mark.parametrize(("places", "tasks", "share", "spread"), SCENES)
def test_of_200_candidates_worse_by_the_margin_no_more_pass_than_the_level_says(places, tasks, share, spread):
    rng = np.random.default_rng(places * 100 + tasks + 1)
    for margin in (0.02, 0.05):
        pairs = [drawn(rng, places, tasks, better=share, worse=share + margin, spread=spread) for _ in range(N)]
        assert np.mean([p_value(one, margin) <= 0.05 for one in pairs]) <= most(0.05)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_of_all_outcomes_of_forty_tasks_those_that_exclude_a_true_loss_add_up_to_less_than_the_level(share):
    """No simulation: every count of tasks won and lost, with its trinomial chance at a loss of exactly the margin."""
    n, margin, level = 40, 0.1, 0.05
    total = 0.0
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            if (won - lost) / n > -margin and unconditional(won, lost, n, margin) <= level:
                ways = math.comb(n, won) * math.comb(n - won, lost)
                total += ways * share**won * (share + margin) ** lost * (1 - 2 * share - margin) ** (n - won - lost)
    assert 0.01 < total <= level


@pytest.mark.parametrize("tasks", [8, 30, 60])
def test_measured_gains_hold_the_level_too(tasks):
    rng = np.random.default_rng(tasks)
    assert np.mean([p_value(measured(rng, tasks, 0.0)) <= 0.05 for _ in range(N)]) <= most(0.05)
    assert np.mean([p_value(measured(rng, tasks, -0.02), 0.02) <= 0.05 for _ in range(N)]) <= most(0.05)


def test_useful_effects_are_found():
    rng = np.random.default_rng(0)
    useful = [p_value(drawn(rng, 12, 24, better=0.1, worse=0.02)) <= 0.01 for _ in range(60)]
    assert np.mean(useful) > 0.8
    kept = [p_value(drawn(rng, 12, 24, better=0.02, worse=0.02), 0.05) <= 0.05 for _ in range(60)]
    assert np.mean(kept) > 0.8
    assert np.mean([p_value(measured(rng, 40, 0.13)) <= 0.01 for _ in range(60)]) > 0.8


def test_equal_behaviour_is_never_better_however_often_it_is_seen():
    for n in (2, 96, 2000):
        same = Pairs.of([0.0] * n, [1.0] * n, [str(k % 7) for k in range(n)])
        assert p_value(same) == 1.0
    assert p_value(same, 0.02) < 0.01  # and with so many tasks a loss is excluded


def test_without_any_difference_a_loss_is_excluded_only_where_it_would_have_shown():
    """Nobody can be surer than 0.98 ** n: so often a candidate that fails 2 in 100 shows nothing."""
    for n, is_shown in ((60, False), (140, False), (170, True)):
        pairs = Pairs.of([0.0] * n, [1.0] * n, [str(k % 8) for k in range(n)])
        assert (p_value(pairs, 0.02) <= 0.05) is is_shown
        assert 0.98**n <= p_value(pairs, 0.02) <= 0.98**n + 0.02


def test_gains_at_one_place_alone_are_not_taken_for_gains_everywhere():
    gain = [1.0] * 24 + [0.0] * 120
    pairs = Pairs.of(gain, [1.0] * 144, [f"site:{k // 24}" for k in range(144)])
    assert mcnemar(24, 0) < 1e-6
    assert p_value(pairs) > 0.1


odd = st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), odd, st.booleans())
def test_a_number_that_is_none_shows_nothing(gains, bad, is_size):
    sizes = [1.0] * len(gains)
    (sizes if is_size else gains)[0] = bad
    pairs = Pairs.of(gains, sizes, [str(k) for k in range(len(gains))])
    assert p_value(pairs) == p_value(pairs, 0.05) == 1.0
    assert lower_bound(pairs, 0.05) == -math.inf


def test_one_cluster_and_none_show_nothing():
    assert p_value(Pairs.of([1.0] * 50, [1.0] * 50, ["site:a"] * 50)) == 1.0
    assert p_value(Pairs.of([], [], [])) == 1.0
    assert math.isnan(Pairs.of([], [], []).value)
    assert p_value(Pairs.of([1.0, 1.0], [1.0, 1.0], ["a", "b"]), math.nan) == 1.0


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.0, 1.0]), min_size=4, max_size=40), st.sampled_from([0.0, 0.02, 0.2]))
@settings(max_examples=30)
def test_what_is_shown_points_the_way_of_the_mean_and_a_mirrored_candidate_is_not_better_too(gains, margin):
    where = [str(k % 4) for k in range(len(gains))]
    mine, mirrored = (Pairs.of([sign * gain for gain in gains], [1.0] * len(gains), where) for sign in (1, -1))
    p, other = p_value(mine, margin), p_value(mirrored)
    assert 0 <= p <= 1
    assert p > 0.4 or mine.value > -margin
    assert margin or p + other >= 1 - 1e-9 or min(p, other) > 0


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 10, 11, 200])
def test_the_t_tail_is_the_integral_of_the_density(df):
    grid = np.linspace(0, 1.7, 20_001)
    log_c = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    between = np.trapezoid(np.exp(log_c) * (1 + grid**2 / df) ** (-(df + 1) / 2), grid)
    assert t_tail(1.7, df) == pytest.approx(0.5 - between, abs=1e-8)
    assert t_tail(-1.7, df) == pytest.approx(0.5 + between, abs=1e-8)


def test_mcnemar_is_the_binomial_tail():
    assert mcnemar(5, 0) == 1 / 32
    assert mcnemar(0, 0) == mcnemar(0, 9) == 1.0
    assert mcnemar(8, 2) == pytest.approx((45 + 10 + 1) / 1024)


def test_the_lower_bound_is_where_the_p_value_crosses_the_level():
    rng = np.random.default_rng(5)
    for pairs in (drawn(rng, 12, 24, better=0.06, worse=0.02), measured(rng, 30, 0.05)):
        bound = lower_bound(pairs, 0.05)
        assert bound < pairs.value
        assert p_value(pairs, -bound + 2e-3) <= 0.05 < p_value(pairs, -bound - 2e-3) + 2e-3
