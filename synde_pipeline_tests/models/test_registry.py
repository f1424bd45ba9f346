"""The champion moves only by a decision about what lies there, and every decision is kept."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError
from synde_pipeline.models.registry import FILE, Champion, champion, promote, reject
from synde_pipeline.storage import Header, write_atomically
from synde_pipeline.training.cycles import Cycle

DAY = date(2025, 1, 3)


def cycle(number: int, domain: str = "web") -> Cycle:
    return Cycle(f"{domain}-{number:04d}", domain, number, number, DAY, (), "c" * 64)


def model(warehouse, number: int, version: str = "a", domain: str = "web", kind: str = "bank") -> Header:
    """A cycle's model as `merge_cycle` publishes it: its own adapter and those of the cycles before."""
    rows = [
        {"cycle": cycle(k, domain).key, "adapter": f"{domain}{k}{version if k == number else 'a'}"}
        for k in range(1, number + 1)
    ]
    header = Header(
        artefact="merged_models",
        key=cycle(number, domain).key,
        content_hash=f"{domain}-model-{number}-{version}",
        info={"kind": kind, "adapters": rows},
    )
    write_atomically(warehouse.path(header.artefact, header.key) / "current.json", header.model_dump_json())
    return header


def test_nothing_is_served_before_anything_passed(warehouse):
    assert champion(warehouse) == Champion()
    reject(warehouse, cycle(1), model(warehouse, 1), "too little evidence")
    now = champion(warehouse)
    assert now.domains == {}
    assert now.hash == Champion().hash
    assert [(item.accepted, item.reason) for item in now.history] == [(False, "too little evidence")]


def test_a_champion_per_domain_moves_when_its_model_passes_and_stays_when_it_fails(warehouse):
    first = promote(warehouse, cycle(1), model(warehouse, 1), "better")
    other = promote(warehouse, cycle(1, "code"), model(warehouse, 1, domain="code", kind="merged"), "better")
    assert list(other.domains) == ["code", "web"]
    assert other.domains["web"] == first.domains["web"]
    failed = reject(warehouse, cycle(2), model(warehouse, 2), "worse")
    assert failed.domains == other.domains
    assert failed.hash == other.hash != first.hash
    third = promote(warehouse, cycle(3), model(warehouse, 3), "better")
    assert [item.adapter for item in third.domains["web"].adapters] == ["web1a", "web2a", "web3a"]
    assert third.domains["web"].kind == "bank"
    assert third.domains["code"].kind == "merged"
    assert [item.previous for item in third.history] == [Champion().hash, first.hash, other.hash, failed.hash]


def test_a_verdict_holds_for_the_adapter_that_was_judged_and_no_other(warehouse):
    promote(warehouse, cycle(1), model(warehouse, 1), "better")
    now = reject(warehouse, cycle(2), model(warehouse, 2), "worse")
    assert now.verdict_on("web-0001", "web1a") is True
    assert now.verdict_on("web-0002", "web2a") is False
    assert now.verdict_on("web-0001", "web1b") is None
    assert now.verdict_on("web-0003", "web3a") is None
    again = reject(warehouse, cycle(1), model(warehouse, 1, version="b"), "worse after a removal")
    assert again.verdict_on("web-0001", "web1a") is None
    assert again.verdict_on("web-0001", "web1b") is False


decisions = st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.booleans()), max_size=6)


@given(decisions)
@settings(max_examples=40)
def test_deciding_again_changes_no_byte_and_history_only_grows(warehouse, drawn):
    (warehouse.root / FILE).unlink(missing_ok=True)
    for number, version, passed in drawn:
        decide, header = (promote if passed else reject), model(warehouse, number, version)
        before = champion(warehouse)
        after = decide(warehouse, cycle(number), header, "why")
        raw = (warehouse.root / FILE).read_bytes()
        for again in (promote, reject):
            assert again(warehouse, cycle(number), header, "another reason") == after
        assert (warehouse.root / FILE).read_bytes() == raw
        assert champion(warehouse) == after
        assert after.history[: len(before.history)] == before.history
        if after != before:
            assert after.history[-1].previous == before.hash
            assert passed or after.domains == before.domains
            assert not passed or after.domains["web"].model == header.content_hash


def test_a_model_that_is_gone_or_another_by_now_moves_nothing(warehouse):
    promote(warehouse, cycle(1), model(warehouse, 1), "better")
    raw = (warehouse.root / FILE).read_bytes()
    judged = model(warehouse, 2)
    model(warehouse, 2, version="b")
    with pytest.raises(LineageError, match="the champion stays as it was"):
        promote(warehouse, cycle(2), judged, "better")
    with pytest.raises(LineageError, match="0 adapters of cycle web-0003"):
        promote(warehouse, cycle(3), judged, "better")
    (warehouse.path("merged_models", "web-0002") / "current.json").unlink()
    with pytest.raises(LineageError, match="is missing"):
        reject(warehouse, cycle(2), judged, "worse")
    assert (warehouse.root / FILE).read_bytes() == raw


@pytest.mark.parametrize("text", ["", "{", '{"domains": 3}', '{"surprise": 1}'])
def test_an_unreadable_champion_is_refused_and_left_as_it_is(warehouse, text):
    write_atomically(warehouse.root / FILE, text)
    for refused in (
        lambda: champion(warehouse),
        lambda: promote(warehouse, cycle(1), model(warehouse, 1), "better"),
        lambda: reject(warehouse, cycle(1), model(warehouse, 1), "worse"),
    ):
        with pytest.raises(LineageError, match="no readable champion"):
            refused()
    assert (warehouse.root / FILE).read_text() == text
