"""Errors of routing: every task is counted once, under what truly happened to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.evaluation.routing import KINDS, routing_errors, wilson
from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.models.keys import DomainKeys
from synde_pipeline.models.route import Asked, Nearest, Router
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=200)


def test_each_kind_of_error_is_counted_among_the_tasks_that_could_show_it():
    """Places a, b and c have adapters; texts of b look like a, of c like nothing, of the stranger x like a."""
    vectors = get_embedder("hashing").embed(["lamp on mekdor", "never asked"])
    keys = DomainKeys("hashing", vectors, np.array([0, 1]), np.array([0, 1]))
    router = Router({("web", "a"): 0, ("web", "b"): 1, ("web", "c"): 2}, {"web": Nearest(keys, 0.9)})
    asked = [Asked("web", "", "lamp on mekdor")] * 4 + [Asked("web", "", "zormek")] * 2 + [Asked("web", "c", "")]
    places = [("web", name) for name in "aabxcxc"]
    found = routing_errors(router, asked, places, CONFIG)
    assert {kind: (found[kind].n, found[kind].n_of, found[kind].places) for kind in KINDS} == {
        "right": (3, 5, 3),
        "wrong": (1, 5, 3),
        "none_when_known": (1, 5, 3),
        "some_when_foreign": (1, 2, 1),
        "none_when_foreign": (1, 2, 1),
    }


@given(st.lists(st.tuples(st.sampled_from("abcxy"), st.sampled_from("abcxy")), max_size=30))
def test_kinds_of_known_and_of_foreign_tasks_each_add_up(drawn):
    router = Router({("web", name): k for k, name in enumerate("abc")})
    asked = [Asked("web", told) for told, _ in drawn]
    places = [("web", true) for _, true in drawn]
    found = routing_errors(router, asked, places, CONFIG)
    known = sum(true in "abc" for _, true in drawn)
    assert found["right"].n + found["wrong"].n + found["none_when_known"].n == known
    assert found["some_when_foreign"].n + found["none_when_foreign"].n == len(drawn) - known
    assert found["right"].n == sum(told == true and true in "abc" for told, true in drawn)
    for count in found.values():
        if count.share is None:
            assert count.n_of == 0
        else:
            assert 0 <= count.low <= count.high <= 1


def test_wilson_is_the_published_interval_and_never_certain():
    """Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29."""
    for n, n_of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(n, n_of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert wilson(20, 20)[0] == pytest.approx(1 - 0.1611, abs=1e-4)
    for n_of in range(1, 400):
        assert wilson(0, n_of)[0] == 0
        assert wilson(n_of, n_of)[1] == 1
