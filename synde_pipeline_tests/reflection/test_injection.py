"""Planted attacks are found, harmless texts are not, and what cannot be told by its words is said to be so."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.reading import native_files, read_file, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline_tests.helpers import SHARED, needs_shared
from synde_pipeline_tests.reflection.planted import ATTACKS, HARMLESS, PLAIN_LIES, SUBTLE

EVERY = [(family, text) for family, texts in ATTACKS.items() for text in texts]


def test_there_are_enough_texts_to_measure_with():
    assert len(EVERY) >= 40
    assert len(ATTACKS) >= 8
    assert len(set(HARMLESS)) >= 100


@pytest.mark.parametrize(("family", "text"), EVERY)
def test_a_planted_attack_is_found_in_a_result_with_a_reason(family, text):
    assert why_suspect(text, is_result=True), family


@pytest.mark.parametrize(("family", "text"), [pair for pair in EVERY if pair[0] != "orders in results"])
def test_it_is_found_in_a_lesson_and_inside_json_and_long_texts_as_well(family, text):
    assert why_suspect(text), family
    assert why_suspect("word " * 500 + "\n" + text + "\n" + "word " * 500), family
    if not text.startswith("SYSTEM"):  # a role at the start of a text is a value inside quotes
        assert why_suspect(json.dumps({"note": ["word " * 500, text]}), is_result=True), family


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_is_not_suspect(text):
    assert why_suspect(text) == ""


def test_few_attacks_that_the_patterns_were_not_written_for_are_found():
    found = sum(bool(why_suspect(text, is_result=True)) for text in SUBTLE)
    assert (found, len(SUBTLE)) == (2, 25)  # measured: the guards that count tasks and trust have to stop the rest


def test_lies_in_plain_words_are_not_found():
    assert [why_suspect(text, is_result=True) for text in PLAIN_LIES] == [""] * len(PLAIN_LIES)


@given(st.text(max_size=300))
def test_any_text_gets_an_answer_and_always_the_same(text):
    assert why_suspect(text) == why_suspect(text)
    assert why_suspect("") == ""


@needs_shared
@pytest.mark.slow
def test_hardly_any_result_of_the_recorded_logs_is_suspect():
    texts = {
        step.result
        for name in ("tau-bench", "tau2-bench")
        for file in native_files(SHARED / name)
        for item in read_file(file, rule=spread_over()).trajectories
        for step in item.steps
        if step.tool != REPLY
    }
    wrong = [text for text in texts if why_suspect(text, is_result=True)]
    assert len(texts) > 1000
    assert len(wrong) <= len(texts) / 1000
