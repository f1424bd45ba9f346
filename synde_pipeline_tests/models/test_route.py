"""Routing: by scope, by text above a calibrated threshold, never across embedders; and what the evidence says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.models.keys import MOST_VECTORS, DomainKeys, Evidence, Key, key_of, read_keys, write_keys
from synde_pipeline.models.route import Asked, Router
from synde_pipeline.settings import ModelsConfig

NEAREST = ModelsConfig(route="nearest", route_error=0.15)
"""Six places can promise 1 in 7, no less."""
THINGS = ("lamp", "phone", "chair", "kettle", "camera", "jacket")


def texts(name):
    return {f"price of {thing} on {name}" for thing in THINGS}


def bank_of(*groups, embedder="hashing", domain="web"):
    """Places and keys of adapters that were trained on the sites of a group each."""
    places = [[(domain, f"site:{name}") for name in group] for group in groups]
    keys = {k: (domain, key_of({f"site:{n}": texts(n) for n in group}, embedder)) for k, group in enumerate(groups)}
    return places, keys


def unit(rng, n):
    drawn = rng.normal(size=(n, 384))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


SITES = (("mekdor", "bagsul", "tibnaf"), ("zormek", "vokrin", "pelgat"))


# -- routing --------------------------------------------------------------------------------------------------------


def test_a_task_without_a_scope_goes_to_the_adapter_of_its_texts_place_and_a_stranger_to_none():
    router = Router.of(*bank_of(*SITES), NEAREST)
    found = router.routes(
        [
            Asked("web", "", "price of watch on bagsul"),
            Asked("web", "", "price of watch on vokrin"),
            Asked("web", "", "price of lamp on gibzet"),
            Asked("code", "", "price of lamp on bagsul"),
            Asked("web", "site:pelgat", "price of lamp on bagsul"),
            Asked("web", ""),
        ]
    )
    assert [route.index for route in found] == [0, 1, -1, -1, 1, -1]
    assert [route.reason for route in found] == ["nearest", "nearest", "too far", "unknown", "scope", "unknown"]
    assert found[0].score > router.nearest["web"].threshold >= found[2].score


def test_a_scope_that_is_given_and_unknown_is_another_place_however_near_its_text():
    router = Router.of(*bank_of(*SITES), NEAREST)
    assert router.route("web", "site:new", "price of lamp on bagsul").index == -1
    assert router.route("web", "", "price of lamp on bagsul").index == 0


def test_scopes_alone_route_where_the_settings_say_so_or_nothing_else_is_known():
    places, keys = bank_of(*SITES)
    for router in (
        Router.of(places, keys, ModelsConfig(route="scope")),
        Router.of(places),
        Router.of(places, {}, NEAREST),
    ):
        assert router.route("web", "", "price of lamp on bagsul").reason == "unknown"
        assert router.route("web", "site:bagsul").index == 0


def test_too_few_places_to_promise_anything_means_no_routing_by_text():
    assert "web" in Router.of(*bank_of(*SITES), NEAREST).nearest
    assert Router.of(*bank_of(SITES[0], SITES[1][:2]), NEAREST).nearest == {}
    assert Router.of(*bank_of(*SITES), ModelsConfig(route="nearest", route_error=0.14)).nearest == {}


def test_one_place_alone_shows_nothing_foreign_and_routes_nothing_by_text():
    places = [[("web", "site:mekdor")]]
    key = key_of({"site:mekdor": {f"price of {k} {t} on mekdor" for k in "abcdef" for t in THINGS}}, "hashing")
    assert len(key.vectors) == MOST_VECTORS
    assert Router.of(places, {0: ("web", key)}, NEAREST).nearest == {}


def test_vectors_of_two_embedders_are_never_compared():
    _, old = bank_of(SITES[0], embedder="hashing")
    rng = np.random.default_rng(0)
    new = Key("minilm", tuple(f"site:{k}" for k in range(24)), unit(rng, 24))
    found = DomainKeys.of({0: old[0][1], 1: new})
    assert found.embedder == "minilm"
    assert set(found.owners) == {1}
    assert len(found.means) == 24
    assert DomainKeys.of({0: new, 1: old[0][1]}).embedder == "hashing"


# -- calibration ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-3, 3)), max_size=60), st.sampled_from([0.1, 0.2, 0.4]))
def test_the_threshold_is_the_smallest_score_that_keeps_the_promise(drawn, error):
    evidence = Evidence((), (), tuple(score / 4 for _, score in drawn), tuple(scope for scope, _ in drawn))
    found, scopes = evidence.threshold(error), {scope for scope, _ in drawn}

    def rate(bar):
        """Mean share of passing tasks over scopes, a new scope with all of them included."""
        shares = [np.mean([score / 4 > bar for s, score in drawn if s == scope]) for scope in scopes]
        return (sum(shares) + 1) / (len(scopes) + 1)

    kept = [score / 4 for _, score in drawn if rate(score / 4) <= error + 1e-9]
    assert found == (min(kept) if kept else None)


def test_tasks_of_a_new_place_get_an_adapter_as_seldom_as_promised_although_a_places_tasks_are_alike():
    """200 banks of 30 places with 8 tasks each, 50 new places: pooling tasks would let more than 5 % pass."""
    rates, pooled = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(80, 1)) * 2 + rng.normal(size=(80, 8))  # places differ more than their tasks
        known, new = scores[:30], scores[30:]
        evidence = Evidence((), (), tuple(known.ravel().tolist()), tuple(np.repeat(range(30), 8).tolist()))
        rates.append((new > evidence.threshold(0.05)).mean())
        pooled.append((new > np.quantile(known, 0.95)).mean())
    error = np.std(rates) / 200**0.5
    assert np.mean(rates) < 0.05 + 2 * error
    assert np.mean(rates) > 0.005  # and not by letting nothing pass
    assert np.mean(pooled) > 0.05


def test_evidence_is_what_a_slow_count_of_left_out_tasks_and_scopes_says():
    rng = np.random.default_rng(3)
    scopes = [k % 4 for k in range(12)] + [4]
    owners = [0, 0, 1, 1, 1]
    vectors = unit(rng, 13)
    found = DomainKeys("hashing", vectors, np.array(scopes), np.array(owners)).evidence()
    home, right, foreign = [], [], []
    for i in range(13):
        near = {}
        for scope in range(5):
            rest = [vectors[j] for j in range(13) if j != i and scopes[j] == scope]
            if rest:
                mean = np.sum(rest, 0, dtype=np.float64)
                near[scope] = float(vectors[i] @ mean / np.linalg.norm(mean))
        foreign.append(max(score for scope, score in near.items() if scope != scopes[i]))
        if scopes[i] in near:
            home.append(max(near.values()))
            right.append(owners[max(near, key=near.__getitem__)] == owners[scopes[i]])
    assert found.home == pytest.approx(home, abs=1e-4)
    assert found.is_right == tuple(right)
    assert found.foreign == pytest.approx(foreign, abs=1e-4)
    assert (len(home), len(foreign), found.scopes) == (12, 13, tuple(scopes))


def test_names_that_texts_do_not_hold_are_told_apart_by_nobody_and_the_threshold_says_so():
    same = {f"site:{name}": {f"price of {thing}" for thing in THINGS} for name in "abcdef"}
    router = Router.of([[("web", scope) for scope in same]], {0: ("web", key_of(same, "hashing"))}, NEAREST)
    assert "web" in router.nearest
    assert all(router.route("web", "", f"price of {thing}").reason == "too far" for thing in THINGS)


# -- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_is_small_shared_fairly_among_scopes_and_depends_on_nothing_but_its_texts(tmp_path):
    many = {f"site:{k}": {f"task {n} of {k}" for n in range(30)} for k in range(5)}
    key = key_of(many, "hashing")
    counts = [key.scopes.count(scope) for scope in many]
    assert sum(counts) == MOST_VECTORS
    assert max(counts) - min(counts) <= 1
    again = key_of(dict(reversed(many.items())), "hashing")
    assert again.scopes == key.scopes
    assert np.array_equal(again.vectors, key.vectors)
    write_keys(tmp_path, {"g00": key})
    table = [
        {"folder": "g00", "key": {"embedder": "hashing", "vectors": list(key.scopes)}},
        {"folder": "g01", "key": {}},
    ]
    (read,) = read_keys(tmp_path, table).values()
    assert read.scopes == key.scopes
    assert np.abs(read.vectors - key.vectors).max() < 1e-3


def test_a_scope_that_a_newer_adapter_took_over_leaves_the_key():
    key = key_of({"site:a": texts("mekdor"), "site:b": texts("zormek")}, "hashing")
    left = key.only(("site:b",))
    assert set(left.scopes) == {"site:b"}
    assert (left.vectors @ get_embedder("hashing").embed(sorted(texts("zormek"))).T).max(1) == pytest.approx(1.0)
