"""The router's decision: the paper's rule, its limits, and newer evidence that outweighs an adapter."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.edits import adding, lesson_of, rewriting, signed
from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.memory.select import Answer, Recalled
from synde_pipeline.models.decide import Decider, Evidence, Limits, decide, forced
from synde_pipeline.models.keys import DomainKeys, Key
from synde_pipeline.models.route import Asked, Route
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import MemoryConfig

ITEM = MemoryItem(
    item_id="i", domain="web", kind="strategy", scope="site:a", title="t", description="d", content="c", supports=()
)
HAS = Route(0, "scope")
NONE = Route(-1, "unknown")
SAYS = Answer((Recalled(ITEM, 0.5, "here"),))
NOTHING = Answer()


def evidence(route=HAS, near=0.5, memory=SAYS, outdated=()):
    return Evidence(route, near, memory, outdated)


@pytest.mark.parametrize(
    ("found", "limits", "layers", "reason"),
    [
        (evidence(route=NONE), Limits(), "context", "novel"),
        (evidence(route=Route(-1, "too far", 0.1)), Limits(), "context", "near enough"),
        (evidence(route=NONE, memory=NOTHING), Limits(), "none", "novel"),
        (evidence(memory=NOTHING), Limits(), "weights", "memory says nothing"),
        (evidence(), Limits(), "dual", "between"),
        (evidence(near=0.5), Limits(known=0.5), "weights", "known"),
        (evidence(near=0.4999), Limits(known=0.5), "dual", "between"),
        (evidence(near=0.2), Limits(novel=0.2), "dual", "between"),
        (evidence(near=0.1), Limits(novel=0.2), "context", "novel"),
        (evidence(near=None), Limits(0.5, 0.2), "dual", "between"),
        (evidence(near=0.9, outdated=("i",)), Limits(known=0.5), "context", "conflicting"),
    ],
)
def test_a_case_is_decided_as_the_rule_says(found, limits, layers, reason):
    how = decide(found, limits)
    assert how.layers == layers
    assert reason in how.reason


cases = st.builds(
    evidence,
    st.sampled_from([HAS, NONE]),
    st.none() | st.floats(-1, 1),
    st.sampled_from([SAYS, NOTHING]),
    st.sampled_from([(), ("i",)]),
)


@given(cases, st.none() | st.floats(-1, 1), st.none() | st.floats(-1, 1))
def test_no_layer_is_used_that_has_nothing_to_say(found, known, novel):
    for how in (decide(found, Limits(known, novel)), *(forced(one, found) for one in ("dual", "weights", "context"))):
        assert found.has_adapter or how.layers in ("none", "context")
        assert found.memory.shown or how.layers in ("none", "weights")
    assert forced("none", found).layers == "none"


def test_familiarity_is_the_cosine_with_the_nearest_scope_of_the_domain():
    texts = ["renew the loan", "renew the card", "fix the bug"]
    vectors = get_embedder("hashing").embed(texts).astype(np.float32)
    keys = DomainKeys.of(
        {0: Key("hashing", ("site:a", "site:a"), vectors[:2]), 1: Key("hashing", ("site:b",), vectors[2:])}
    )
    decider = Decider({"web": keys}, {})
    near, other, empty = decider.familiarities(
        [Asked("web", "", texts[2]), Asked("code", "", texts[2]), Asked("web", "", "")]
    )
    assert near == pytest.approx(1.0, abs=1e-3)
    assert (other, empty) == (None, None)


def test_without_a_trained_cycle_or_items_of_the_place_nothing_is_outdated():
    memory = Memory.of([], MemoryConfig(embedder="hashing"))
    query = Query("renew", "web", date(2026, 1, 2), scope="site:a")
    anywhere = Answer((Recalled(ITEM.model_copy(update={"scope": ""}), 0.5, "all over"),))
    decider = Decider({}, {"web-0001": date(2026, 1, 1)})
    assert decider.outdated(query, "", memory, SAYS) == ()
    assert decider.outdated(query, "web-0001", memory, anywhere) == ()
    assert decider.outdated(query, "web-0001", memory, SAYS) == ()  # it was not there: nothing contradicts the adapter


def test_what_was_changed_after_the_training_outweighs_the_adapter():
    said = lesson_of(kind="strategy", scope="site:a", title="nav", description="", content="browse")
    add = signed(adding(said, "web"), datetime(2026, 1, 1, tzinfo=UTC))
    config = MemoryConfig(embedder="hashing")
    (item,) = Memory.of([add], config).bank(date(2026, 1, 1)).items
    change = signed(rewriting(item, {"content": "search"}), datetime(2026, 1, 3, tzinfo=UTC))
    memory = Memory.of([add, change], config)
    decider = Decider({}, {"web-0001": date(2026, 1, 1), "web-0002": date(2026, 1, 3)})
    for as_of, cycle, expected in (
        (date(2026, 1, 2), "web-0001", ()),
        (date(2026, 1, 3), "web-0001", (item.item_id,)),
        (date(2026, 1, 4), "web-0002", ()),
    ):
        query = Query("price of the watch", "web", as_of, scope="site:a")
        (answer,) = memory.answers([query])
        assert [one.content for one in answer.items] == ["browse" if as_of.day < 3 else "search"]
        assert decider.outdated(query, cycle, memory, answer) == expected
