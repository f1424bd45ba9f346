"""The index finds what brute force finds: any sizes, groups, days and ties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.bounded import Bounded
from synde_pipeline.memory.index import Index


@st.composite
def tables(draw):
    """Ids, vectors, groups and days of some rows, in any order; a query. Whole numbers: scores are exact, and tie."""
    n, dim = draw(st.integers(0, 80)), draw(st.sampled_from([1, 3, 8]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = rng.integers(-2, 3, (n + 1, dim)).astype(np.float32)
    ids = [f"{k:04x}" for k in rng.permutation(n)]
    groups = [f"g{k}" for k in rng.integers(0, 3, n)]
    return ids, vectors[:n], groups, rng.integers(0, 5, n).tolist(), vectors[n]


@given(tables(), st.sampled_from(["g0", "g1", "g2", "elsewhere"]), st.none() | st.integers(-1, 5), st.integers(0, 90))
def test_search_equals_brute_force(table, group, as_of, k):
    ids, vectors, groups, days, query = table
    rows = [row for row in range(len(ids)) if groups[row] == group and (as_of is None or days[row] <= as_of)]
    score = {row: float(sum(a * b for a, b in zip(vectors[row], query, strict=True))) for row in rows}
    index = Index.of(ids, vectors, groups, days)
    found = index.search(query, k, group, as_of)
    assert found == [(row, score[row]) for row in sorted(rows, key=lambda row: (-score[row], ids[row]))[:k]]
    for hit in found:
        np.testing.assert_array_equal(index.vector(hit.row), vectors[hit.row])


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_unit_vectors_are_found_as_in_float64(n, k, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n + 1, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = vectors[:n] @ vectors[n]
    found = Index.of([f"{row:04x}" for row in range(n)], vectors[:n].astype(np.float32)).search(
        vectors[n].astype(np.float32), k
    )
    np.testing.assert_allclose([exact[hit.row] for hit in found], np.sort(exact)[::-1][:k], atol=2e-5)
    np.testing.assert_allclose([hit.score for hit in found], [exact[hit.row] for hit in found], atol=2e-5)


@given(tables(), st.integers(1, 90))
def test_whoever_asks_for_more_gets_the_same_beginning(table, k):
    ids, vectors, groups, days, query = table
    index = Index.of(ids, vectors, groups, days)
    every = list(index.nearest(query, "g1"))
    assert index.search(query, k, "g1") == every[:k]
    assert sorted(hit.row for hit in every) == [row for row in range(len(ids)) if groups[row] == "g1"]


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table, random):
    ids, vectors, groups, days, query = table
    order = list(range(len(ids)))
    random.shuffle(order)
    mixed = Index.of([ids[k] for k in order], vectors[order], [groups[k] for k in order], [days[k] for k in order])
    first = [ids[hit.row] for hit in Index.of(ids, vectors, groups, days).search(query, 5, "g0", 3)]
    assert [ids[order[hit.row]] for hit in mixed.search(query, 5, "g0", 3)] == first


def test_equal_scores_are_ordered_by_id_though_their_last_bits_differ():
    base = np.array([0.6, 0.8], np.float32)
    vectors = np.stack([base, base + np.float32(1e-7), base - np.float32(1e-7)])
    found = Index.of(["c", "a", "b"], vectors).search(np.array([0.6, 0.8], np.float32), 2)
    assert [hit.row for hit in found] == [1, 2]


def test_an_index_without_groups_is_one_group_and_an_empty_one_finds_nothing():
    query = np.array([1.0, 0.0], np.float32)
    assert [hit.row for hit in Index.of(["x"], query[None]).search(query, 3)] == [0]
    assert Index.of([], np.zeros((0, 2), np.float32)).search(query, 3) == []


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 6))), st.integers(1, 12))
def test_a_bounded_cache_holds_what_it_may_and_drops_the_oldest_first(puts, most):
    cache: Bounded[str, int] = Bounded(most, lambda value: value)
    for key, value in puts:
        cache.put(key, value)
        held = {name: cache.peek(name) for name in cache}
        assert held[key] == value
        assert sum(held.values()) <= most or len(held) == 1
    newest_first = list(dict.fromkeys(key for key, _ in reversed(puts)))
    assert list(cache)[::-1] == newest_first[: len(cache)]
    assert cache.get("new", lambda: 1) == cache.get("new", lambda: 2) == 1
