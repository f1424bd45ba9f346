"""Recall is quick and says what the whole bank would say: its place first, then its domain, never another place."""

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.records import MemoryItem
from synde_pipeline_tests.helpers import DAY, called, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, TRAIN
from synde_pipeline_tests.memory.test_places import CONFIG, EMBED, SCOPE, WORKS, deltas_from, histories, visit


def naively(deltas, query: Query, top_k: int) -> list[MemoryItem]:
    """Fold everything, leave out what is not eligible, rank the rest."""
    bank = fold(deltas, query.as_of, CONFIG, EMBED, without_task=query.without_task)
    eligible = [
        item for item in bank.items if item.domain == query.domain and (not item.place or item.scope == query.scope)
    ]
    task = EMBED([query.task])[0]
    score = {item.item_id: np.round(EMBED([item.key_text])[0] @ task, 5) for item in eligible}
    fails = {item.item_id: bool(item.place) and item.kind != "strategy" for item in eligible}
    key = lambda item: (not item.place, fails[item.item_id], -score[item.item_id], item.item_id)  # noqa: E731
    return sorted(eligible, key=key)[:top_k]


def test_what_works_at_a_place_comes_before_what_fails_there_however_near():
    items = [visit(k, ("nav", "browse", WORKS), ("unblock", "wait", not WORKS)) for k in range(3)]
    found = Memory.of(deltas_from(items), CONFIG).recall(
        "unblock on zormek", domain=items[0].domain, as_of=items[-1].day, scope=items[0].scope
    )
    assert [(item.title, item.kind) for item in found] == [("nav", "strategy"), ("unblock", "pitfall")]


@st.composite
def questions(draw) -> Query:
    return Query(
        task=draw(st.sampled_from(["please renew", "nav on zormek", "extract from b"])),
        domain=draw(st.sampled_from(["library", "library", "airline"])),
        as_of=DAY + timedelta(draw(st.integers(-1, 4))),
        without_task=draw(st.none() | st.sampled_from([f"test:library:{task}" for task in TRAIN[:7]])),
        scope=draw(st.sampled_from(["", SCOPE, "site:b", "site:new", "tool:renew"])),
    )


@given(histories(), st.lists(questions(), max_size=6), st.none() | st.integers(0, 5))
def test_recall_equals_the_ranked_eligible_items_of_the_whole_bank(items, queries, top_k):
    deltas = deltas_from(items)
    memory = Memory.of(deltas, CONFIG)
    expected = [naively(deltas, query, CONFIG.top_k if top_k is None else top_k) for query in queries]
    assert memory.recall_many(queries, top_k=top_k) == expected
    for query, found in zip(queries, expected, strict=True):
        bank = memory.bank(query.as_of, without_task=query.without_task)
        assert bank == fold(deltas, query.as_of, CONFIG, EMBED, without_task=query.without_task)
        words = {"as_of": query.as_of, "without_task": query.without_task, "scope": query.scope, "top_k": top_k}
        assert memory.recall(query.task, domain=query.domain, **words) == found


@given(histories(), st.lists(questions(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_came_later_or_from_the_task_itself_changes_no_answer(items, queries, random):
    deltas = deltas_from(items)
    for query in queries:
        seen = [d for d in deltas if d.effective_day <= query.as_of and d.task_id != query.without_task]
        random.shuffle(seen)
        (answer,) = Memory.of(deltas, CONFIG).answers([query])
        assert Memory.of(seen * 2, CONFIG).answers([query]) == [answer]
        for one in answer.shown:
            assert one.item.status == "active"
            assert query.without_task not in one.item.task_ids


def test_a_memory_that_was_asked_other_things_before_answers_as_a_new_one():
    memory = knowing()
    queries = [
        Query("extract and renew", "library", DAY + timedelta(day), without, scope)
        for day in (-1, 0, 1)
        for without in (None, f"test:library:{TRAIN[0]}", "test:library:new")
        for scope in (SCOPE, "site:other", "")
    ]
    memory.recall_many(queries)
    for query in reversed(queries):
        assert memory.answers([query]) == knowing().answers([query])


def test_what_is_not_asked_for_is_not_made_ready():
    memory = knowing()
    memory.recall("renew", domain="library", as_of=DAY, scope=SCOPE, top_k=2)
    assert [scope for _, scope in memory._shelves] == [SCOPE]


def knowing() -> Memory:
    """Two tools at one place, one at another, a workflow of the domain."""
    here = [visit(k, ("nav", "browse", WORKS), ("extract", ".price", WORKS)) for k in range(3)]
    there = [visit(k, ("nav", "search", WORKS), scope="site:other", trial=1) for k in range(3)]
    anywhere = [trajectory(f"test:{k}", task=TRAIN[k], steps=called(*GOOD)) for k in range(3)]
    return Memory.of(deltas_from([*here, *there, *anywhere]), CONFIG)


def titles(scope: str, top_k: int | None = None) -> list[str]:
    found = knowing().recall("extract and renew", domain="library", as_of=DAY, scope=scope, top_k=top_k)
    return [item.title for item in found]


def test_items_of_the_place_come_first_and_those_of_the_domain_fill_up():
    assert titles(SCOPE) == ["extract", "nav", "How to renew"]
    assert titles(SCOPE, top_k=2) == ["extract", "nav"]
    assert titles(SCOPE, top_k=0) == []


def test_what_holds_at_another_place_is_never_shown():
    assert titles("site:new") == titles("") == ["How to renew"]
    assert titles("site:other") == ["nav", "How to renew"]


def test_before_a_run_memory_shows_its_place_as_of_the_day_before_without_its_own_task():
    memory = knowing()
    again = visit(0, ("nav", "browse", WORKS), day=1)
    found = memory.recall_before(again)
    assert {item.scope for item in found} == {SCOPE, "tool:renew"}
    assert all(again.task_id not in item.task_ids for item in found)
    assert memory.recall_before(visit(0, ("nav", "browse", WORKS), day=0)) == []
