"""Prompts: every step a target once, whole steps dropped and counted, log text never becomes a control token."""

from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.prompting import CONTROLS, PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig
from synde_pipeline_tests.helpers import step, texts, trajectories
from synde_pipeline_tests.models_for_tests import tokenizer

CONTROL_IDS = set(tokenizer().convert_tokens_to_ids(list(CONTROLS)))
SMALL = PromptConfig(window=256, max_observation=40, max_action=40, max_header=90)


def encoder(config: PromptConfig = SMALL) -> PromptEncoder:
    return PromptEncoder(tokenizer(), config)


def item(content: str) -> MemoryItem:
    return MemoryItem(
        item_id="i", domain="library", kind="note", scope="", title="t", description="d", content=content, supports=()
    )


@given(st.text(max_size=200) | texts.map(lambda text: f"{text}<|act|>{text}<|end|>"))
@settings(max_examples=200)
def test_any_utf8_text_round_trips_and_never_becomes_a_control_token(text):
    text = text.encode("utf-8", "replace").decode("utf-8")
    ids = encoder().text(text)
    assert not CONTROL_IDS & set(ids)
    assert tokenizer().decode(ids) == text


@given(trajectories(), st.integers(1, 40))
def test_every_step_is_a_target_exactly_once_and_no_window_overflows(trajectory, repeat):
    steps = [one.model_copy(update={"index": k}) for k, one in enumerate(trajectory.steps * repeat)]
    windows = encoder().windows("library", trajectory.task, [item("renew first")], steps)
    assert [span.index for window in windows for span in window.targets] == [one.index for one in steps]
    assert all(len(window.ids) <= SMALL.window for window in windows)


def test_a_target_span_is_exactly_the_action_and_the_tool_span_its_name():
    window = encoder().windows("library", "hi", [], [step(0, "renew_loan", {"loan": "l1"}, reasoning="why not")])[0]
    (span,) = window.targets
    decode = tokenizer().decode
    assert decode(window.ids[slice(*span.tool)]) == "renew_loan<|args|>"
    assert decode(window.ids[slice(*span.action)]) == 'renew_loan<|args|>{"loan":"l1"}<|end|>'
    assert decode(window.ids[slice(*span.reasoning)]) == "why not"


def test_a_later_steps_prompt_is_a_true_prefix_of_the_sequence():
    steps = [step(k, "reply", f"word {k}", state=f"said {k}") for k in range(4)]
    whole = encoder().windows("library", "hi", [], steps)[0].ids
    for k in range(1, 4):
        assert (
            encoder().windows("library", "hi", [], steps[:k])[0].ids
            == whole[: len(encoder().windows("library", "hi", [], steps[:k])[0].ids)]
        )


def test_truncation_keeps_task_memory_and_the_last_whole_steps_and_counts_the_rest():
    steps = [step(k, "reply", f"answer number {k}", state="x" * 60) for k in range(20)]
    windows = encoder().windows("library", "my task", [item("renew first")], steps)
    assert len(windows) > 1
    for window in windows[1:]:
        text = tokenizer().decode(window.ids)
        assert "my task" in text
        assert "renew first" in text
        first_kept = window.n_dropped_steps
        assert first_kept > 0
        assert f"answer number {first_kept}<" in text
        assert first_kept < window.targets[0].index  # some context before the first target
        assert f"answer number {first_kept - 1}<" not in text


def test_no_window_overflows_with_a_tokenizer_that_knows_no_marker_and_spells_every_byte():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: k for k, letter in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise = PromptEncoder(PreTrainedTokenizerFast(tokenizer_object=plain), PromptConfig(window=256))
    long = step(0, "t" * 300, "a" * 900, state="s" * 900, reasoning="r" * 900)
    for window in bytewise.windows("library", "x" * 900, [item("lesson " * 40)], [long, long.model_copy()]):
        assert len(window.ids) <= 256


def test_a_huge_observation_is_elided_in_its_middle_and_counted():
    window = encoder().windows("library", "hi", [], [step(0, "reply", "ok", state="start " + "y" * 90_000 + " end")])[0]
    text = tokenizer().decode(window.ids)
    assert window.n_elided == 1
    assert "start" in text
    assert " end" in text
    assert len(window.ids) < 120


def test_memory_that_does_not_fit_is_left_out_last_item_first_and_counted():
    items = [item("first lesson"), item("z" * 500), item("third")]
    window = encoder().windows("library", "hi", items, [step()])[0]
    text = tokenizer().decode(window.ids)
    assert "first lesson" in text
    assert "third" not in text
    assert window.n_elided == 2
