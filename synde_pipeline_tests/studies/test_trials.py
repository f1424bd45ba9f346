"""Comparisons of studies: errors over seeds where there are three, else over places; halves; chunks."""

import numpy as np
import pytest

from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.ablation import chunks
from synde_pipeline.studies.sharing import halves
from synde_pipeline.studies.trials import as_json, from_json, gain, over, success


def sums(*shares, n=10):
    return [PlaceSums(f"site:{k}", round(share * n), n, n, 0, 0.0) for k, share in enumerate(shares)]


def test_three_seeds_have_an_interval_of_seeds():
    pairs = [(sums(0.9, 0.7), sums(0.5, 0.5)), (sums(0.8, 0.8), sums(0.6, 0.4)), (sums(1.0, 0.8), sums(0.5, 0.5))]
    found = gain(pairs)
    values = [success(new) - success(old) for new, old in pairs]
    assert (found["measured"], found["error"]) == mean_interval(values)
    assert found["n"] == 3


def test_fewer_seeds_have_an_interval_of_places():
    rng = np.random.default_rng(0)
    old = sums(*rng.integers(2, 6, 40) / 10)
    new = sums(*[row.n_success / 10 + 0.3 for row in old])
    found = gain([(new, old)])
    assert found["n"] == 40
    assert found["measured"] == pytest.approx(0.3)
    assert found["error"] == pytest.approx((0.3, 0.3))  # every place gains the same: nothing is uncertain
    assert over([new])["error"][0] < over([new])["measured"] < over([new])["error"][1]


def test_sums_survive_their_part():
    assert from_json(as_json(sums(0.3, 0.8))) == sums(0.3, 0.8)


def test_both_agents_have_places_of_each_kind_and_none_in_common():
    scopes = [f"{kind}:{k}" for kind in ("site", "repository", "notebook") for k in range(4)]
    mine, other = halves(scopes)
    assert mine | other == set(scopes)
    assert not mine & other
    assert {scope.split(":")[0] for scope in mine} == {scope.split(":")[0] for scope in other}


def test_chunks_are_in_order_and_lose_nothing():
    rows = [{"trace_uid": f"sim:1-{day:04d}-{k:04d}"} for day in (3, 1, 2) for k in range(7)]
    found = chunks(rows)
    assert sum(map(len, found)) == 21
    assert [row["trace_uid"] for part in found for row in part] == sorted(row["trace_uid"] for row in rows)
    assert max(map(len, found)) - min(map(len, found)) <= 1
