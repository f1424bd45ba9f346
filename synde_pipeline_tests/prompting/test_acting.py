"""Acting: the prompt of an action is the one that training laid out, and what was written there is read back."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import PromptConfig
from synde_pipeline_tests.helpers import step
from synde_pipeline_tests.models_for_tests import tokenizer
from synde_pipeline_tests.prompting.chat_templates import FAMILIES, chat_tokenizer

LARGE = PromptConfig(window=20_000, max_observation=2000, max_action=2000, max_header=2000)
SMALL = PromptConfig(window=512, max_observation=40, max_action=40, max_header=90)
TOOLS = ("find", "get_loan")
plain = st.text("abc {}\"':\né", max_size=40).filter(
    lambda text: not {line.strip() for line in text.split("\n")} & {*TOOLS, "reply"}
)
every_layout = pytest.mark.parametrize("name", ["markers", *FAMILIES])


@cache
def encoder(name: str, config: PromptConfig = LARGE) -> PromptEncoder:
    return PromptEncoder(tokenizer() if name == "markers" else chat_tokenizer(name), config)


@st.composite
def runs(draw):
    return [
        step(k, draw(st.sampled_from([*TOOLS, "reply"])), draw(plain), state=draw(plain), reasoning=draw(plain))
        for k in range(draw(st.integers(1, 4)))
    ]


@every_layout
@given(steps=runs())
@settings(max_examples=40)
def test_the_prompt_of_an_action_is_what_training_shows_before_it(name, steps):
    one, last = encoder(name), steps[-1]
    trained = one.windows("library", "hi", [], steps)[-1]
    prompt = one.before_action("library", "hi", [], steps[:-1], last.state)
    assert prompt.ids == trained.ids[: trained.targets[-1].begins]


@every_layout
@given(steps=runs())
@settings(max_examples=40)
def test_what_training_teaches_to_write_is_read_back(name, steps):
    one, last = encoder(name), steps[-1]
    window = one.windows("library", "hi", [], steps)[-1]
    span = window.targets[-1]
    written = window.ids[span.begins : span.action[1]]
    assert written[-len(one.stop) :] == one.stop
    said = one.read(written[: -len(one.stop)], TOOLS)
    assert said is not None
    if name == "markers":
        assert said == (last.reasoning, last.tool, last.arguments)
    else:
        assert said == (last.reasoning.strip(), last.tool, last.arguments.strip())


@every_layout
@given(steps=runs())
@settings(max_examples=20)
def test_a_part_is_read_as_the_beginning_of_the_whole_or_not_yet(name, steps):
    one, last = encoder(name), steps[-1]
    window = one.windows("library", "hi", [], steps)[-1]
    span = window.targets[-1]
    written = window.ids[span.begins : span.action[1] - len(one.stop)]
    whole = one.read(written, TOOLS)
    assert whole is not None
    for n in range(len(written)):
        part = one.read(written[:n], TOOLS, is_whole=False)
        if part is not None:
            assert part.tool == last.tool
            assert whole.arguments.startswith(part.arguments.rstrip("�").rstrip())


@every_layout
def test_the_prompt_of_a_long_run_leaves_room_for_the_action(name):
    steps = [step(k, "find", "word " * 60, state="seen " * 60) for k in range(30)]
    window = encoder(name, SMALL).before_action("library", "hi", [], steps, "seen " * 60)
    assert window.n_dropped_steps > 0
    assert len(window.ids) + 40 <= SMALL.window


@every_layout
def test_a_text_without_a_tool_is_no_action(name):
    one = encoder(name)
    assert one.read(one.text("just words, and no tool"), TOOLS) is None
