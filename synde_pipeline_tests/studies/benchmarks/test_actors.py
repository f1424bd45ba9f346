"""What actors are shown and how their words are read: chats, our markers, plain continuation, endpoints."""

from types import SimpleNamespace

import pytest
import torch

from synde_pipeline.base_model import Base
from synde_pipeline.prompting.parts import item_text
from synde_pipeline.records import INVALID
from synde_pipeline.storage import Header
from synde_pipeline.studies.benchmarks.actors import LocalActor, Turn, View, chat_action, marker_action
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask
from synde_pipeline_tests.models_for_tests import tiny, tokenizer
from synde_pipeline_tests.prompting.chat_templates import chat_tokenizer
from synde_pipeline_tests.prompting.test_chat import item

TASK = EnvironmentTask(task_id="x:code:1", text="Write it.", prefix="def f(n):\n", budget=2)
TOOLS = {"submit": "hand in", "look": "see"}


class Parrot:
    """A model that says what it was told to, and remembers what it was given."""

    def __init__(self, says: list[int]) -> None:
        self.config = SimpleNamespace(max_position_embeddings=2048)
        self.generation_config = SimpleNamespace(eos_token_id=None)
        self.device = "cpu"
        self.says = says
        self.given: list[int] = []

    def generate(self, input_ids, **_):
        self.given = input_ids[0].tolist()
        return torch.tensor([[*self.given, *self.says]])


def base_of(tokenizer, text: str) -> Base:
    model = Parrot(tokenizer(text, add_special_tokens=False)["input_ids"])
    return Base(model, tokenizer, Header(artefact="base_model", key="", content_hash="0"))


def view(*, turns=(), memory=(), tools=TOOLS) -> View:
    return View("code", TASK, tools, memory, turns, "what is there")


BEFORE = Turn(0, "the beginning", "why", "look", "around", "what is there")


def test_a_chat_is_rendered_as_the_template_itself_would_and_ends_where_the_agent_begins():
    chat = chat_tokenizer("chatml")
    base = base_of(chat, "because\n\nsubmit\nreturn n")
    said = LocalActor(base).act(view(turns=(BEFORE,), memory=[item("be brief")]))
    assert (said.reasoning, said.tool, said.arguments) == ("because", "submit", "return n")
    text = chat.decode(base.model.given)
    assert text.endswith("<|im_start|>user\nwhat is there<|im_end|>\n<|im_start|>assistant\n")
    assert "look\naround<|im_end|>" in text
    assert "be brief" in text
    assert said.tokens_in == len(base.model.given)


@pytest.mark.parametrize("memory", [[], [item("be brief")]])
def test_a_model_without_template_goes_on_from_the_tasks_own_text(memory):
    plain = tokenizer_without_markers()
    base = base_of(plain, "    return n\n")
    said = LocalActor(base).act(view(memory=memory, tools={"submit": "hand in"}))
    assert (said.tool, said.arguments.strip()) == ("submit", "return n")
    text = plain.decode(base.model.given)
    assert text.endswith("def f(n):\n")
    assert text.startswith("# - ") is bool(memory)


def tokenizer_without_markers():
    plain = chat_tokenizer("chatml")
    plain = plain.__class__(tokenizer_object=plain._tokenizer)
    plain.chat_template = None
    return plain


def test_a_base_that_knows_the_markers_is_asked_and_read_in_markers():
    words = tokenizer()
    base = base_of(words, "<|think|>because<|act|>submit<|args|>return n<|end|>")
    said = LocalActor(base).act(view())
    assert (said.reasoning, said.tool, said.arguments) == ("because", "submit", "return n")
    text = words.decode(base.model.given)
    assert text.endswith("<|see|>what is there")


def test_a_real_model_writes_something_within_its_window():
    base = Base(tiny("gpt2"), tokenizer(), Header(artefact="base_model", key="", content_hash="0"))
    said = LocalActor(base).act(view())
    assert 0 < said.tokens_out <= 512 // 4
    assert said.tool


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("submit\nx = 1\ny", ("", "submit", "x = 1\ny")),
        ("I think\nso\n\n**submit**\nx", ("I think\nso", "submit", "x")),
        ("`look`:\nhere", ("", "look", "here")),
        ("no tool at all", ("", INVALID, "no tool at all")),
    ],
)
def test_a_chat_answer_is_parted_at_the_first_line_that_names_a_tool(text, found):
    assert chat_action(text, TOOLS) == found


def test_who_names_no_tool_where_there_is_only_one_has_used_it():
    assert chat_action("<think>hm</think>x = 1", {"submit": ""}) == ("<think>hm</think>", "submit", "x = 1")


@pytest.mark.parametrize("text", ["", "words", "<|act|>two words<|args|>x", "<|act|>submit", "<|args|>x<|act|>submit"])
def test_a_turn_that_names_no_tool_is_invalid(text):
    assert marker_action(text)[:2] == ("", INVALID)


def test_items_are_lines_that_a_comment_can_hold():
    assert item_text(item("be brief")).strip().count("\n") == 0
