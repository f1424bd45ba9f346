"""The embedded tokenizer: any text comes back, the worlds' words are single tokens, markers cannot be forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from synde_pipeline.prompting import AVOID, CONTROLS, PromptEncoder
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.tokenizer import build_tokenizer
from synde_pipeline.simulation.worlds.base import FIRSTS, HELD_OUT, SECONDS
from synde_pipeline.simulation.worlds.registry import words


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return PromptEncoder(tokenizer, PromptConfig())


@given(st.text() | st.sampled_from([*CONTROLS, AVOID, "a <|act|>b", "naïve 日本語 🙂 \x00\x07\t\r\n  two  "]))
def test_any_text_round_trips_without_a_control_token(tokenizer, encoder, text):
    ids = encoder.text(text)
    assert tokenizer.decode(ids) == text
    assert not {tokenizer.convert_ids_to_tokens(one) for one in ids} & {*CONTROLS, AVOID}


def test_names_are_their_two_syllables_wherever_they_stand(tokenizer, encoder):
    known = tokenizer.get_vocab()
    for name in HELD_OUT:
        parts = [known[name[:3]], known[name[3:]]]
        assert encoder.text(name) == parts
        assert encoder.text(f"price of lamp on {name}")[-2:] == parts
    assert {*FIRSTS, *SECONDS} <= known.keys()


def test_words_are_one_token(encoder):
    assert [word for word in words() if len(encoder.text(word)) != 1] == []


def test_the_markers_are_single_tokens_of_the_encoder(encoder):
    assert all(len(encoder.marker(control)) == 1 for control in CONTROLS)


def test_it_is_the_same_after_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "web: price of lamp on zormek 17.42 日本"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.get_vocab() == tokenizer.get_vocab()


def test_the_chat_template_speaks_the_grammar_of_prompting(tokenizer):
    messages = [
        {"role": "user", "content": "web: price of lamp on zormek"},
        {"role": "system", "content": "zormek<|act|>nav<|args|>browse"},
        {"role": "tool", "content": "start nav"},
        {"role": "assistant", "content": "zormek<|act|>nav<|args|>browse"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|task|>web: price of lamp on zormek<|memory|>zormek<|act|>nav<|args|>browse<|see|>start nav"
        "<|think|>zormek<|act|>nav<|args|>browse<|end|><|think|>"
    )
