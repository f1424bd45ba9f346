"""The prefix property: the quick verdict is that of rendering everything, on invented and on recorded runs."""

import copy
import json
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from synde_pipeline.errors import ChatTemplateError
from synde_pipeline.logs.importers.registry import detect
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.prompting.template import ChatTemplate
from synde_pipeline.settings import PromptConfig
from synde_pipeline_tests.helpers import SHARED, needs_shared, step
from synde_pipeline_tests.prompting.chat_templates import FAMILIES, chat_tokenizer

every_family = pytest.mark.parametrize("name", FAMILIES)


def by_hand(name: str, flags: tuple[bool, ...]) -> bool:
    """Whether every prompt, and every prompt with its answer, is a prefix of the whole conversation."""
    tokens, family = chat_tokenizer(name), FAMILIES[name]

    def conversation(n: int) -> list[dict]:
        found = [{"role": "system", "content": "<system>"}] if family.has_system else []
        for k, has_reasoning in enumerate(flags[:n]):
            answer = {"role": "assistant", "content": f"<action {k}>"}
            if has_reasoning and family.marks:
                answer["reasoning_content"] = f"<thought {k}>"
            found += [{"role": "user", "content": f"<state {k}>"}, answer]
        return found

    def render(turns: list[dict], *, prompt: bool = False) -> str:
        return tokens.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)

    whole = render(conversation(len(flags)))
    prompts = [render(conversation(k)[:-1], prompt=True) for k in range(1, len(flags) + 1)]
    answered = [render(conversation(k)) for k in range(1, len(flags) + 1)]
    return all(whole.startswith(text) for text in (*prompts, *answered))


@every_family
def test_the_verdict_is_the_one_of_rendering_every_prefix(name):
    template = ChatTemplate(chat_tokenizer(name))
    assert template.has_system == FAMILIES[name].has_system
    assert template.has_thinking == bool(FAMILIES[name].marks)
    for n in (1, 2, 3, 4, 9):
        for flags in list(product((False, True), repeat=n))[:: 1 if n < 5 else 37]:
            used = flags if template.has_thinking else (False,) * n
            assert template.is_prefix_stable(used) == by_hand(name, flags), flags


LATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if loop.index0 == AT and messages | length > MORE %}"
    "(long ago) {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@given(st.integers(0, 20), st.integers(8, 40), st.integers(5, 24))
@settings(max_examples=40)
def test_a_template_that_rewrites_one_old_turn_of_long_conversations_is_found_out(at, more, n):
    tokens = copy.deepcopy(chat_tokenizer("chatml"))
    tokens.chat_template = LATE.replace("AT", str(at)).replace("MORE", str(more))
    found = ChatTemplate(tokens).is_prefix_stable((False,) * n)
    rewrites = at < more < 1 + 2 * n  # the turn was shown as it was, and is not any more
    if not rewrites:
        assert found
    elif at < 2 * n - 1 <= more:  # the last but one step, which is always compared, still shows it as it was
        assert not found


def test_what_a_template_refuses_only_later_drops_earlier_steps():
    tokens = copy.deepcopy(chat_tokenizer("chatml"))
    refusal = "{% if messages | length > 9 %}{{ raise_exception('too many turns') }}{% endif %}"
    tokens.chat_template = refusal + FAMILIES["chatml"].template
    steps = [step(k, "reply", f"answer {k}", state=f"seen {k}") for k in range(8)]
    with pytest.raises(ChatTemplateError, match="too many turns"):
        ChatTemplate(tokens).skeleton((False,) * 8)
    windows = PromptEncoder(tokens, PromptConfig(window=2048)).windows("library", "hi", [], steps)
    assert [span.index for window in windows for span in window.targets] == list(range(8))
    assert [window.n_dropped_steps for window in windows] == [0, 0, 0, 0, 1, 2, 3, 4]


class Counting(PreTrainedTokenizerFast):
    """A tokenizer that counts the messages it renders."""

    n_messages = 0

    def apply_chat_template(self, conversation, *args, **kwargs):
        self.n_messages += len(conversation)
        return super().apply_chat_template(conversation, *args, **kwargs)


def test_work_grows_linearly_with_the_steps_where_the_template_is_prefix_stable():
    """Counted in messages that are rendered, not in seconds."""
    counts = []
    for n in (100, 400):
        model = chat_tokenizer("keeps_thinking").backend_tokenizer
        tokens = Counting(tokenizer_object=model, chat_template=FAMILIES["keeps_thinking"].template)
        encoder = PromptEncoder(tokens, PromptConfig(window=1024))
        steps = [step(k, "reply", "ok", state="seen " * 8, reasoning="so" if k % 3 else "") for k in range(n)]
        before = tokens.n_messages
        assert len(encoder.windows("library", "hi", [], steps)) > 4
        counts.append(tokens.n_messages - before)
    assert counts[1] < 6 * counts[0]


@cache
def recorded_runs() -> list:
    """Every ninth run of the recorded tau-bench and tau2-bench files: with and without reasoning."""
    drafts = []
    for path in sorted(path for name in ("tau-bench", "tau2-bench") for path in (SHARED / name).rglob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        importer = detect(document)
        drafts += [importer.parse(row, document, path) for row in list(importer.rows(document))[::9]]
    return [draft for draft in drafts if draft.steps]


@needs_shared
@every_family
def test_recorded_runs_have_the_property_or_a_sequence_for_each_step(name):
    runs = recorded_runs()
    assert len(runs) > 40
    encoder = PromptEncoder(chat_tokenizer(name), PromptConfig(window=2048))
    assert encoder.layout == "chat", encoder.reason
    for k, run in enumerate(runs):
        is_stable = encoder.is_prefix_stable(run.steps)
        assert is_stable == by_hand(name, tuple(bool(one.reasoning.strip()) for one in run.steps))
        assert is_stable == (FAMILIES[name].is_stable or len(run.steps) == 1)
        if k % 8:
            continue  # encoding takes its time, the verdict does not
        windows = encoder.windows(run.domain, run.task, [], run.steps)
        assert [span.index for window in windows for span in window.targets] == [one.index for one in run.steps]
        assert all(len(window.ids) <= 2048 for window in windows)
        assert is_stable or len(windows) == len(run.steps)
