"""Where an item stands: the Beta comparison against an independent number, and the token budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.standing import Ranked, beyond, probability_worse

counts = st.tuples(st.integers(0, 40), st.integers(0, 40))


def by_quadrature(fared: tuple[int, int], other: tuple[int, int]) -> float:
    """P(p < q) by integrating the density of p times the tail of q over a fine grid."""
    edges = np.linspace(0, 1, 20_001)
    middle = (edges[1:] + edges[:-1]) / 2

    def density(s: int, f: int) -> np.ndarray:
        log = s * np.log(middle) + f * np.log1p(-middle)
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    p, q = density(*fared), density(*other)
    tail = q[::-1].cumsum()[::-1] - q / 2
    return float((p * tail).sum())


@given(counts, counts)
def test_the_probability_that_runs_do_worse_with_an_item_is_the_integral_of_its_posteriors(fared, other):
    assert probability_worse(fared, other) == pytest.approx(by_quadrature(fared, other), abs=1e-6)
    assert probability_worse(fared, other) == pytest.approx(1 - probability_worse(other, fared), abs=1e-9)


def test_without_any_run_to_compare_with_the_prior_is_uniform():
    # E[1 - p] for p ~ Beta(1 + 3, 1 + 7)
    assert probability_worse((3, 7), (0, 0)) == pytest.approx(8 / 12)


def test_large_counts_stay_probabilities():
    assert probability_worse((4000, 6000), (6000, 4000)) == pytest.approx(1.0)
    assert probability_worse((6000, 4000), (4000, 6000)) == pytest.approx(0.0, abs=1e-12)


def ranked(item_id: str, tokens: int, *, helps: int = 0, tasks: int = 2, is_pinned: bool = False) -> Ranked:
    return Ranked(not is_pinned, -helps, -tasks, item_id, tokens)


def test_the_budget_keeps_what_helped_most_then_what_most_tasks_support():
    items = [ranked("a", 10), ranked("b", 10, tasks=5), ranked("c", 10, helps=1), ranked("d", 10, helps=-1)]
    assert beyond(items, 20) == {"a", "d"}
    assert beyond(items, 40) == set()
    assert beyond(items, 0) == {"a", "b", "c", "d"}


def test_a_smaller_item_does_not_slip_past_a_better_one_that_did_not_fit():
    assert beyond([ranked("c", 15, helps=3), ranked("a", 10, helps=2), ranked("b", 5)], 20) == {"a", "b"}


def test_pinned_items_are_kept_beyond_the_budget_and_use_it_up():
    items = [ranked("a", 30, is_pinned=True, helps=-5), ranked("b", 5)]
    assert beyond(items, 20) == {"b"}
    assert beyond(items, 35) == set()


def test_an_item_beyond_the_whole_budget_keeps_nobody_out():
    items = [ranked("huge", 10**6, helps=9), ranked("a", 10), ranked("b", 10)]
    assert beyond(items, 20) == {"huge"}
    assert beyond([ranked("huge", 30, helps=9, is_pinned=True), *items[1:]], 20) == {"a", "b"}
