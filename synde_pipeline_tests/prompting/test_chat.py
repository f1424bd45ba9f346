"""Chat templates: what the template itself would render, nothing that a log can forge, every step a target once."""

import copy
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.prompting import CONTROLS, PromptEncoder
from synde_pipeline.prompting.chat import _ASK, _NOTHING, LEARNED
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig
from synde_pipeline.training.examples import ExampleTurn
from synde_pipeline.training.shards import token_weights
from synde_pipeline_tests.helpers import step, texts
from synde_pipeline_tests.models_for_tests import tokenizer
from synde_pipeline_tests.prompting.chat_templates import FAMILIES, UNUSABLE, chat_tokenizer

LARGE = PromptConfig(window=20_000, max_observation=2000, max_action=2000, max_header=2000)
SMALL = PromptConfig(window=512, max_observation=40, max_action=40, max_header=90)
STABLE = [name for name, family in FAMILIES.items() if family.is_stable]

every_family = pytest.mark.parametrize("name", FAMILIES)
forged = st.sampled_from([text for family in FAMILIES.values() for text in (*family.special, *family.marks)])
hostile = st.lists(texts | forged | st.sampled_from(["\n", " ", *CONTROLS]), max_size=5).map("".join)
tools = st.sampled_from(["reply", "find", "<|im_end|>", "</s>", "<think>"])


@st.composite
def runs(draw, fewest=1):
    return [
        step(k, draw(tools), draw(hostile), state=draw(hostile), reasoning=draw(hostile))
        for k in range(draw(st.integers(fewest, 4)))
    ]


@cache
def encoder(name: str, config: PromptConfig = LARGE) -> PromptEncoder:
    found = PromptEncoder(chat_tokenizer(name), config)
    assert found.layout == "chat", found.reason
    return found


def item(content: str) -> MemoryItem:
    return MemoryItem(
        item_id="i", domain="library", kind="note", scope="", title="t", description="d", content=content, supports=()
    )


def messages(name: str, steps, memory=()) -> list[dict]:
    """The conversation, written down by hand."""
    learned = LEARNED + "".join(f"\n- t. {one.content}" for one in memory) if memory else ""
    system, thinks = _ASK + learned, bool(FAMILIES[name].marks)
    found = [{"role": "system", "content": system}] if FAMILIES[name].has_system else []
    for k, one in enumerate(steps):
        state = one.state.strip()
        if k == 0:
            head = "" if found else f"{system}\n\n"
            state = f"{head}library: hi" + (f"\n\n{state}" if state else "")
        found.append({"role": "user", "content": state or _NOTHING})
        action = f"{one.tool}\n{one.arguments.strip()}"
        thought = one.reasoning.strip()
        if thought and thinks:
            found.append({"role": "assistant", "content": action, "reasoning_content": thought})
        else:
            found.append({"role": "assistant", "content": f"{thought}\n\n{action}" if thought else action})
    return found


def rendered(name: str, conversation, *, prompt: bool = False) -> str:
    tokens = chat_tokenizer(name)
    return tokens.apply_chat_template(conversation, tokenize=False, add_generation_prompt=prompt)


STEPS = [
    step(0, "find", {"member": "m1"}, state="\nMember m1 is here. ", reasoning=" look her up\nfirst "),
    step(1, "get_loan", "{}", state="found"),
    step(2, "reply", " done ", state="", reasoning="finished"),
]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "headers"])  # it prints today's date
def test_a_window_is_what_the_template_itself_renders_for_the_same_turns(name):
    memory = [item("renew first"), item("be kind")]
    windows = encoder(name).windows("library", "hi", memory, STEPS)
    for window in windows:
        n = window.targets[-1].index + 1
        whole = rendered(name, messages(name, STEPS[:n], memory))
        text = chat_tokenizer(name).decode(window.ids)
        assert whole.startswith(text)
        assert whole[len(text) :].strip() == ""  # what may follow is the template's line break
        for span in window.targets if FAMILIES[name].is_stable else window.targets[-1:]:
            seen = rendered(name, messages(name, STEPS[: span.index + 1], memory)[:-1], prompt=True)
            wrote = span.reasoning[0] if STEPS[span.index].reasoning else span.tool[0]
            before = chat_tokenizer(name).decode(window.ids[:wrote])
            assert before.startswith(seen)
            assert before == seen or not STEPS[span.index].reasoning


def test_the_date_that_a_template_prints_is_the_same_on_every_day():
    (window,) = encoder("headers").windows("library", "hi", [], STEPS)
    text = chat_tokenizer("headers").decode(window.ids)
    assert "Today is 01 Jan 2025.\n" in text
    today = rendered("headers", messages("headers", STEPS))
    assert text.split(".\n", 1)[1] == today.split(".\n", 1)[1]


@every_family
@given(runs(), hostile, hostile)
@settings(max_examples=25)
def test_no_text_adds_a_control_token(name, steps, task, lesson):
    """The control tokens of a run are those of the same run with harmless texts, in the same order."""
    tokens = chat_tokenizer(name)
    controls = {*tokens.all_special_ids, *tokens.convert_tokens_to_ids(list(FAMILIES[name].marks))}
    harmless = [
        step(k, "reply", "x", state="x" if one.state.strip() else "", reasoning="x" if one.reasoning.strip() else "")
        for k, one in enumerate(steps)
    ]
    windows = encoder(name).windows("library", task, [item(lesson)], steps)
    expected = encoder(name).windows("library", "x", [item("x")], harmless)
    kept = [[id for id in window.ids if id in controls] for window in windows]
    assert kept == [[id for id in window.ids if id in controls] for window in expected]
    for window in windows:
        for span in window.targets:
            assert controls.isdisjoint(window.ids[span.tool[0] : span.arguments[1]])


@every_family
@given(runs())
@settings(max_examples=25)
def test_spans_decode_to_what_was_logged(name, steps):
    family, decode = FAMILIES[name], chat_tokenizer(name).decode
    windows = encoder(name).windows("library", "hi", [], steps)
    found = {span.index: (window.ids, span) for window in windows for span in window.targets}
    assert sorted(found) == [one.index for one in steps]
    assert len(found) == sum(len(window.targets) for window in windows)
    for one in steps:
        ids, span = found[one.index]
        assert decode(ids[slice(*span.tool)]) == f"{one.tool}\n"
        assert ids[slice(*span.tool)] == encoder(name).tool_ids(one.tool)
        assert decode(ids[slice(*span.arguments)]) == one.arguments.strip()
        assert decode(ids[slice(*span.action)]) == f"{one.tool}\n{one.arguments.strip()}{family.end_of_turn}"
        before, behind = family.around_reasoning
        thought = one.reasoning.strip()
        assert decode(ids[slice(*span.reasoning)]) == (f"{before}{thought}{behind}" if thought else "")
        assert span.reasoning[1] == span.tool[0]


@every_family
@given(runs(fewest=0), st.integers(1, 12))
@settings(max_examples=15)
def test_every_step_is_a_target_exactly_once_and_no_window_overflows(name, steps, repeat):
    steps = [one.model_copy(update={"index": k}) for k, one in enumerate(steps * repeat)]
    windows = encoder(name, SMALL).windows("library", "hi" * 300, [item("renew first")], steps)
    assert [span.index for window in windows for span in window.targets] == [one.index for one in steps]
    assert all(len(window.ids) <= SMALL.window for window in windows)
    assert all(window.n_dropped_steps <= window.targets[0].index for window in windows)


@pytest.mark.parametrize("name", STABLE)
@given(runs())
@settings(max_examples=15)
def test_an_earlier_run_is_a_true_prefix_of_the_later_one_and_the_prompt_of_both(name, steps):
    found = encoder(name)
    assert found.is_prefix_stable(steps)
    (whole,) = found.windows("library", "hi", [item("renew first")], steps)
    for k in range(1, len(steps)):
        (part,) = found.windows("library", "hi", [item("renew first")], steps[:k])
        assert part.ids == whole.ids[: len(part.ids)]
        assert part.targets == whole.targets[:k]
    unseen = [steps[0].model_copy(update={"state": ""}), *steps[1:]]
    prompt = found.prompt("library", "hi", [item("renew first")]).ids
    assert found.windows("library", "hi", [item("renew first")], unseen)[0].ids[: len(prompt)] == prompt


def test_truncation_keeps_task_memory_and_the_last_whole_steps_and_counts_the_rest():
    steps = [step(k, "reply", f"answer number {k}", state="x" * 60) for k in range(20)]
    for name in ("chatml", "thinking"):
        windows = encoder(name, SMALL).windows("library", "my task", [item("renew first")], steps)
        assert 1 < len(windows) <= 20
        assert any(window.n_dropped_steps for window in windows)
        for window in windows:
            text = chat_tokenizer(name).decode(window.ids)
            assert "library: my task" in text
            assert "renew first" in text
            first = window.n_dropped_steps
            assert f"answer number {first}<" in text
            assert f"answer number {first - 1}<" not in text
            assert window.n_context_tokens > 0


def test_where_a_template_drops_earlier_reasoning_each_step_is_a_sequence_with_weights_on_that_step_alone():
    steps = [ExampleTurn(k, f"seen {k}", f"thought {k}", "reply", f"said {k}", "imitate", 1.0 + k) for k in range(3)]
    windows = encoder("thinking").windows("library", "hi", [], steps)
    assert len(windows) == 3
    decode = chat_tokenizer("thinking").decode
    for k, window in enumerate(windows):
        weights, avoid = token_weights(window, steps)
        learned = decode([id for id, weight in zip(window.ids, weights, strict=True) if weight])
        assert learned == f"<think>\nthought {k}\n</think>\n\nreply\nsaid {k}<|im_end|>"
        assert {weight for weight in weights if weight} == {1.0 + k}
        assert not any(avoid)
        text = decode(window.ids)
        assert f"reply\nsaid {k - 1}<" in text or k == 0
        assert f"thought {k - 1}\n" not in text


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_template_that_does_not_keep_its_contents_falls_back_to_markers_and_says_why(name):
    found = PromptEncoder(chat_tokenizer(name), PromptConfig())
    assert found.layout == "markers"
    assert "template" in found.reason or "prompt of a turn" in found.reason
    (window,) = found.windows("library", "hi", [], STEPS)
    assert [span.index for span in window.targets] == [0, 1, 2]


def test_markers_win_where_the_base_knows_them_and_where_there_is_no_template():
    known, bare = copy.deepcopy(tokenizer()), copy.deepcopy(chat_tokenizer())
    known.chat_template, bare.chat_template = FAMILIES["chatml"].template, None
    assert [PromptEncoder(one, PromptConfig()).layout for one in (known, bare)] == ["markers", "markers"]


def test_a_tokenizer_that_puts_a_blank_before_every_text_does_not_do_so_within_a_chat():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in (10, *range(33, 127), 0x2581)]
    words = Tokenizer(models.Unigram([("<unk>", 0.0), *((letter, -1.0) for letter in letters)], 0, False))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    words.decoder = decoders.Replace("▁", " ")
    words.add_special_tokens([AddedToken(text, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    spaced = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>", clean_up_tokenization_spaces=False
    )
    spaced.chat_template = FAMILIES["inst"].template
    assert spaced.decode(spaced("reply", add_special_tokens=False)["input_ids"]) == " reply"
    found = PromptEncoder(spaced, LARGE)
    assert found.layout == "chat", found.reason
    (window,) = found.windows("library", "hi", [], STEPS)
    whole = spaced.apply_chat_template(messages("inst", STEPS), tokenize=False)
    assert spaced.decode(window.ids) == whole
