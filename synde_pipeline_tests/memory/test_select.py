"""An answer keeps to its token budget and never says nearly the same twice; what it passes over it names."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.retrieve import Query
from synde_pipeline.memory.select import Shelf, select
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.records import MemoryItem, Support
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.test_retrieve import SCOPE, knowing

SUPPORT = Support(task_id="t", trace_uid="u", outcome="success")


TITLES = ("renew the loan", "renew the loan within 3 days")
"""A number makes them two lessons, however near their vectors are."""


def item(name: str, *, kind: str = "strategy", scope: str = "", title: str = TITLES[0], length: int = 1) -> MemoryItem:
    return MemoryItem(
        item_id=name, domain="library", kind=kind, scope=scope, title=title, description="", supports=(SUPPORT,),
        content="politely" + " " * length,
    )  # fmt: skip


@st.composite
def shelves(draw):
    """Items with vectors out of a few directions, so that many are alike; on one or two shelves."""
    n = draw(st.integers(0, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    directions = rng.standard_normal((5, 6))
    vectors = directions[rng.integers(0, 5, n)] + rng.standard_normal((n, 6)) * draw(st.sampled_from([0.0, 0.05, 0.5]))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    kinds = rng.choice(["strategy", "pitfall"], n).tolist()
    scopes = rng.choice(["", "tool:renew", "site:zormek"], n).tolist()
    items = [
        item(f"i{k:02}", kind=kinds[k], scope=scopes[k], title=rng.choice(TITLES), length=int(length))
        for k, length in enumerate(rng.integers(1, 120, n))
    ]
    query = (directions[0] / np.linalg.norm(directions[0])).astype(np.float32)
    return items, vectors, query


def answered(found, top_k: int, config: MemoryConfig):
    items, vectors, query = found
    return select(query, [(Shelf.of(items, vectors, lambda _: "near"), "near")], top_k, config)


@given(shelves(), st.integers(0, 8), st.none() | st.integers(1, 120), st.sampled_from([0.5, 0.95, 1.0]))
def test_an_answer_is_the_nearest_items_but_those_that_are_alike_or_do_not_fit(found, top_k, budget, distinct):
    config = MemoryConfig(embedder="hashing", recall_tokens=budget, distinct=distinct)
    answer = answered(found, top_k, config)
    items, vectors, query = found
    vector_of = {one.item_id: vector for one, vector in zip(items, vectors, strict=True)}
    score = {name: round(float(vector @ query), 5) for name, vector in vector_of.items()}
    ranked = sorted(items, key=lambda one: (-score[one.item_id], one.item_id)) if top_k else []
    chosen, alike, too_long, used = [], [], [], 0
    for one in ranked:  # the rule, written down plainly
        if len(chosen) == top_k:
            break
        same = [other for other in chosen if (other.kind, other.title) == (one.kind, one.title)]
        same = [other for other in same if not other.place and not one.place]
        cosines = [round(float(vector_of[one.item_id] @ vector_of[other.item_id]), 5) for other in same]
        if any(cosine >= distinct for cosine in cosines):
            alike.append(one)
        elif budget is not None and used + n_tokens(one) > budget:
            too_long.append(one)
        else:
            used += n_tokens(one)
            chosen.append(one)
    assert answer.items == chosen
    assert [one.item for one in answer.passed_over if one.reason == "alike"] == alike
    assert [one.item for one in answer.passed_over if one.reason == "budget"] == too_long
    assert budget is None or sum(map(n_tokens, answer.items)) <= budget


def test_a_pitfall_may_stand_beside_its_strategy_and_what_differs_in_a_number_or_a_place():
    vectors = np.tile(np.array([1.0, 0.0], np.float32), (5, 1))
    items = [
        item("a"),
        item("b"),
        item("c", kind="pitfall"),
        item("d", scope="site:zormek"),
        item("e", title=TITLES[1]),
    ]
    answer = answered((items, vectors, vectors[0]), 5, MemoryConfig(embedder="hashing"))
    assert [one.item_id for one in answer.items] == ["a", "c", "d", "e"]
    assert [(one.item.item_id, one.reason) for one in answer.passed_over] == [("b", "alike")]


def test_the_domain_fills_up_what_the_budget_and_likeness_leave_free():
    memory = knowing()
    query = Query("extract and renew", "library", DAY, scope=SCOPE)
    (answer,) = memory.answers([query])
    assert [one.reason for one in answer.shown] == ["works at the place"] * 2 + ["holds all over the domain"]
    scores = [one.score for one in answer.shown]
    assert scores[0] >= scores[1]
    least = n_tokens(answer.items[0])
    tight = knowing()
    tight.config = tight.config.model_copy(update={"recall_tokens": least})
    (short,) = tight.answers([query])
    assert short.items == answer.items[:1]
    assert {one.reason for one in short.passed_over} == {"budget"}
