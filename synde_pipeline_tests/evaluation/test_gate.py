"""The gate fails closed: only evidence that says exactly True, about the model that lies there, moves the champion."""

from datetime import timedelta

import pytest

from synde_pipeline.base_model import load
from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.due import is_due
from synde_pipeline.evaluation.gate import decide, is_decided, why_not
from synde_pipeline.evaluation.report import publish
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.overrule import carry_out, rollback
from synde_pipeline.models.registry import FILE, Champion, champion, served_hash
from synde_pipeline.settings import PromptConfig
from synde_pipeline.training.daily import publish_shard
from synde_pipeline_tests.evaluation.test_report import report
from synde_pipeline_tests.helpers import DAY, gate
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny


@pytest.fixture
def cycle(warehouse):
    """A routed cycle with its bank, not yet evaluated."""
    pin_tiny(warehouse)
    return trained(warehouse, DAY, "site:a")[0]


def judged(warehouse, cycle, passed=None, **evidence):
    """Publish a report of the cycle's model that holds the evidence."""
    model = warehouse.header(MERGED, cycle.key)
    if passed is not None:
        evidence = {"gate": gate(warehouse, passed=passed, reason="better" if passed else "worse") | evidence}
    publish(warehouse, cycle.key, report() | evidence, {MERGED: model.content_hash})
    return model


def decision(warehouse, cycle):
    return decide(warehouse, cycle, load(warehouse).hash)


def raw(warehouse):
    path = warehouse.root / FILE
    return path.read_bytes() if path.exists() else None


# -- what moves the champion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [{}, {"gate": None}])
def test_without_evidence_the_champion_stays_and_nothing_is_recorded(warehouse, cycle, evidence):
    judged(warehouse, cycle, **evidence)
    found = decision(warehouse, cycle)
    assert found.accepted is None
    assert "no gate evidence" in found.reason
    assert raw(warehouse) is None
    assert is_decided(warehouse, cycle)  # there is nothing to act on: the cycle must not stay due for ever
    assert not is_due(warehouse, cycle)


def test_a_cycle_that_passed_is_served(warehouse, cycle):
    model = judged(warehouse, cycle, passed=True)
    assert not is_decided(warehouse, cycle)
    assert is_due(warehouse, cycle)
    found = decision(warehouse, cycle)
    assert (found.accepted, found.reason) == (True, "better")
    now = champion(warehouse)
    assert (now.domains["library"].cycle, now.domains["library"].model) == (cycle.key, model.content_hash)
    assert [(item.accepted, item.reason) for item in now.history] == [(True, "better")]
    assert is_decided(warehouse, cycle)
    assert not is_due(warehouse, cycle)


ODD = [
    *({"passed": value} for value in (None, 1, "true", [True], float("nan"))),
    {"basis": "nothing shown"},
    {"basis": "hope"},
    {"basis": None},
    {"checks": []},
    {"checks": None},
    {"checks": ["passed"]},
    {"checks": [{"name": "kl to base", "status": "passed"}, {"name": "canaries", "status": "failed"}]},
    {"checks": [{"name": "kl to base", "status": None}]},
    {"champion": None},
    {"champion": {"cycle": None}},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_whatever_is_odd_in_a_section_keeps_it_from_promoting(warehouse, odd):
    assert why_not(gate(warehouse, passed=True)) is None
    assert "the gate says passed" in why_not(gate(warehouse, passed=True) | odd)


@pytest.mark.parametrize("missing", ["passed", "basis", "champion", "checks"])
def test_whatever_is_missing_keeps_it_from_promoting(warehouse, missing):
    section = gate(warehouse, passed=True)
    del section[missing]
    assert why_not(section)


def test_a_cycle_that_did_not_exactly_pass_is_rejected_and_the_verdict_says_so(warehouse, cycle):
    judged(warehouse, cycle, passed=True, checks=[{"name": "kl to base", "status": None}])
    found = decision(warehouse, cycle)
    assert found.accepted is False
    assert found.reason == "the gate says passed, and 1 of its checks do not"
    now = champion(warehouse)
    assert now.domains == {}
    assert [(item.accepted, item.reason) for item in now.history] == [(False, found.reason)]
    assert is_decided(warehouse, cycle)


@pytest.mark.parametrize("section", [{}, "passed"], ids=str)
def test_a_section_that_is_none_promotes_nothing(warehouse, cycle, section):
    judged(warehouse, cycle, gate=section)
    assert decision(warehouse, cycle).accepted is False
    assert champion(warehouse).domains == {}


def test_a_failed_gate_gives_its_own_reason_and_what_was_tested_is_remembered(warehouse, cycle):
    judged(warehouse, cycle, passed=False)
    assert decision(warehouse, cycle).reason == "worse"
    assert champion(warehouse).history[0].basis == "nothing shown"


# -- the champion that it was compared with -------------------------------------------------------------------------


def test_evidence_against_a_champion_that_has_moved_decides_nothing_and_the_cycle_is_due_again(warehouse, cycle):
    second, _ = trained(warehouse, DAY + timedelta(1), "site:b")
    judged(warehouse, cycle, passed=True)
    judged(warehouse, second, passed=True)  # both against the base alone
    assert decision(warehouse, cycle).accepted is True
    merge_cycle(warehouse, second)  # its bank now holds the accepted adapter of the first
    judged_against_nothing = gate(warehouse, passed=True) | {"champion": {"cycle": None, "hash": served_hash(None)}}
    judged(warehouse, second, gate=judged_against_nothing)
    before = raw(warehouse)
    found = decision(warehouse, second)
    assert found.accepted is None
    assert found.reason == "stale evidence: the champion is library-0001 by now; evaluate library-0002 again"
    assert raw(warehouse) == before
    assert is_due(warehouse, second)
    judged(warehouse, second, passed=True)  # again, against the champion of now
    assert decision(warehouse, second).accepted is True
    assert not is_due(warehouse, second)


def test_a_person_who_goes_back_makes_evidence_stale(warehouse, cycle):
    judged(warehouse, cycle, passed=True)
    decision(warehouse, cycle)
    second, _ = trained(warehouse, DAY + timedelta(1), "site:b")
    judged(warehouse, second, passed=True)
    carry_out(warehouse, rollback(warehouse), "")
    merge_cycle(warehouse, second)
    section = gate(warehouse, passed=True)
    judged(warehouse, second, gate=section | {"champion": {"cycle": cycle.key, "hash": "f" * 64}})
    assert decision(warehouse, second).reason.startswith("stale evidence: the champion is the base alone by now")
    assert champion(warehouse).domains == {}


def test_another_domains_champion_may_move_meanwhile(warehouse, cycle):
    judged(warehouse, cycle, passed=True)
    other, _ = trained(warehouse, DAY + timedelta(1), "site:a", domain="archive")
    publish(
        warehouse,
        other.key,
        report(domain="archive") | {"gate": gate(warehouse, "archive", passed=True)},
        {MERGED: warehouse.header(MERGED, other.key).content_hash},
    )
    assert decision(warehouse, other).accepted is True
    assert decision(warehouse, cycle).accepted is True


def test_a_failed_cycle_leaves_the_one_before_it_in_place(warehouse, cycle):
    judged(warehouse, cycle, passed=True)
    decision(warehouse, cycle)
    before = champion(warehouse)
    second, _ = trained(warehouse, DAY + timedelta(1), "site:b")
    judged(warehouse, second, passed=False)
    assert decision(warehouse, second).accepted is False
    assert champion(warehouse).domains == before.domains
    assert champion(warehouse).hash == before.hash


# -- deciding again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passed", [True, False])
def test_deciding_twice_changes_no_byte_and_says_the_same(warehouse, cycle, passed):
    judged(warehouse, cycle, passed=passed)
    first, written = decision(warehouse, cycle), raw(warehouse)
    assert decision(warehouse, cycle) == first
    assert raw(warehouse) == written


def test_other_evidence_about_a_model_that_was_decided_changes_nothing_and_the_verdict_is_the_recorded_one(
    warehouse, cycle
):
    judged(warehouse, cycle, passed=False)
    first, written = decision(warehouse, cycle), raw(warehouse)
    judged(warehouse, cycle, passed=True)
    assert decision(warehouse, cycle) == first
    assert raw(warehouse) == written


# -- what cannot be decided on --------------------------------------------------------------------------------------


def refused(warehouse, cycle, match):
    before = raw(warehouse)
    with pytest.raises(LineageError, match=match):
        decision(warehouse, cycle)
    assert raw(warehouse) == before
    assert is_due(warehouse, cycle)
    return True


def test_without_a_report_nothing_is_decided(warehouse, cycle):
    assert refused(warehouse, cycle, r"eval_reports\[library-0001\] is missing")
    assert not is_decided(warehouse, cycle)
    assert champion(warehouse) == Champion()


def test_a_report_about_another_model_decides_nothing(warehouse, cycle):
    publish(warehouse, cycle.key, report() | {"gate": gate(warehouse, passed=True)}, {MERGED: "f" * 64})
    assert refused(warehouse, cycle, "was made from merged_models ffffffffffff")
    publish(warehouse, cycle.key, report() | {"gate": gate(warehouse, passed=True)}, {})
    assert refused(warehouse, cycle, "was made from merged_models nothing")
    assert champion(warehouse) == Champion()


def test_a_report_whose_model_is_gone_or_stale_by_now_decides_nothing(warehouse, cycle):
    judged(warehouse, cycle, passed=True)
    (warehouse.path(MERGED, cycle.key) / "current.json").rename(warehouse.root / "aside.json")
    assert refused(warehouse, cycle, r"merged_models\[library-0001\] is missing")
    assert not is_decided(warehouse, cycle)
    (warehouse.root / "aside.json").rename(warehouse.path(MERGED, cycle.key) / "current.json")
    other = SETTINGS.model_copy(update={"prompt": PromptConfig(window=256, max_action=8, max_header=16)})
    publish_shard(warehouse, cycle, other)  # the adapters below the model were trained on another shard
    assert refused(warehouse, cycle, ADAPTERS)
    assert champion(warehouse) == Champion()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_report_that_cannot_be_read_decides_nothing(warehouse, cycle, text):
    judged(warehouse, cycle, passed=True)
    (warehouse.folder("eval_reports", cycle.key) / "report.json").write_text(text, "utf-8")
    assert refused(warehouse, cycle, "report.json cannot be read")
    assert champion(warehouse) == Champion()


def test_a_champion_that_cannot_be_read_is_left_as_it_is(warehouse, cycle):
    judged(warehouse, cycle, passed=True)
    (warehouse.root / FILE).write_text("{", "utf-8")
    with pytest.raises(LineageError, match="no readable champion"):
        decision(warehouse, cycle)
    assert raw(warehouse) == b"{"
