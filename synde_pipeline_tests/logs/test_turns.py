"""Messages of any framework: each way to write the same three turns reads as the same three turns."""

import json
from contextlib import suppress

import pytest
from hypothesis import given

from synde_pipeline.logs.importers.chat import Message
from synde_pipeline.logs.importers.parts import tool_name
from synde_pipeline.logs.importers.turns import answer_of, plain_text, turns_of
from synde_pipeline_tests.logs.junk import any_json

REFUSED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def lc(name, **values):
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", name], "kwargs": values}


CALL = ("c1", "water", '{"bed":3}')
ASKED = Message("user", "Water bed 3.")
CALLED = Message("assistant", "", (CALL,))
WATERED = Message("tool", "done", (), "c1")
FUNCTION = {"name": "water", "arguments": '{"bed": 3}'}
OPENAI = [
    {"role": "user", "content": "Water bed 3."},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}]},
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
]
SHAPES = {
    "openai": OPENAI,
    "json in a json text": json.dumps(json.dumps({"messages": OPENAI})),
    "a list of one conversation": {"messages": [OPENAI]},
    "responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Water bed 3."}]},
            {"type": "function_call", "call_id": "c1", "id": "fc_9", "name": "water", "arguments": '{"bed":3}'},
            {"type": "function_call_output", "call_id": "c1", "output": "done"},
        ]
    },
    "anthropic": [
        {"role": "user", "content": [{"type": "text", "text": "Water bed 3."}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "water", "input": {"bed": 3}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "done"}]},
    ],
    "parts of OpenTelemetry": [
        {"role": "user", "parts": [{"type": "text", "content": "Water bed 3."}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "water", "arguments": {"bed": 3}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "done"}]},
    ],
    "langchain, serialised": {
        "messages": [
            [
                lc("HumanMessage", content="Water bed 3."),
                lc("AIMessage", content="", tool_calls=[{"name": "water", "args": {"bed": 3}, "id": "c1"}]),
                lc("ToolMessage", content="done", tool_call_id="c1"),
            ]
        ]
    },
    "langchain, plain": [
        {"type": "human", "content": "Water bed 3."},
        {
            "type": "ai",
            "data": {"content": "", "additional_kwargs": {"tool_calls": [{"id": "c1", "function": FUNCTION}]}},
        },
        {"type": "tool", "content": "done", "tool_call_id": "c1"},
    ],
    "langchain, a pair": [["human", "Water bed 3."], *OPENAI[1:]],
    "vercel": [
        {"role": "user", "content": "Water bed 3."},
        {
            "role": "assistant",
            "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "water", "args": {"bed": 3}}],
        },
        {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c1", "output": "done"}]},
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_turns_are_read_from_each_shape(shape):
    assert turns_of(SHAPES[shape]) == [ASKED, CALLED, WATERED]


def test_gemini_names_the_tool_where_it_has_no_ids():
    turns = turns_of(
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Water "}, {"text": "bed 3.", "thought": None}]},
                {"role": "model", "parts": [{"functionCall": {"name": "water", "args": {"bed": 3}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "water", "response": {"ok": 1}}}]},
            ],
        }
    )
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool"]
    assert turns[1] == ASKED
    assert turns[2].calls == (("", "water", '{"bed":3}'),)
    assert (turns[3].text, turns[3].name) == ('{"ok":1}', "water")


def test_the_old_function_call_of_openai_is_a_call_and_its_answer_has_a_name():
    turns = turns_of(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": None, "function_call": FUNCTION},
            {"role": "function", "name": "water", "content": "done"},
        ]
    )
    assert turns == [
        Message("system", "Be brief."),
        Message("assistant", "", (("", "water", '{"bed":3}'),)),
        Message("tool", "done", name="water"),
    ]


def test_thoughts_are_kept_apart_from_words_and_pictures_are_no_words():
    parts = [
        {"type": "thinking", "thinking": "It is dry."},
        {"type": "text", "text": "I water."},
        {"type": "image_url", "image_url": {"url": "data:,x"}},
    ]
    assert turns_of({"role": "assistant", "content": parts}) == [
        Message("assistant", "I water.", reasoning="It is dry.")
    ]
    assert turns_of({"role": "assistant", "content": "I water.", "reasoning_content": "It is dry."}) == [
        Message("assistant", "I water.", reasoning="It is dry.")
    ]


def test_thought_and_call_that_stand_beside_messages_are_one_turn():
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "It is dry."}]},
        {"type": "function_call", "call_id": "c1", "name": "water", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "rake", "arguments": "{}"},
    ]
    (turn,) = turns_of({"output": items})
    assert ([call[0] for call in turn.calls], turn.reasoning) == (["c1", "c2"], "It is dry.")


def test_of_several_choices_the_first_is_read():
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("yes", "no")]
    assert turns_of({"choices": choices}) == [Message("assistant", "yes")]
    generations = [[{"text": "yes", "message": lc("AIMessage", content="yes")}, {"text": "no"}]]
    assert turns_of({"generations": generations}) == [Message("assistant", "yes")]


def test_a_text_that_names_its_speakers_is_turns_and_another_is_none():
    assert turns_of("system: Be brief.\nuser: Water\nbed 3.\nassistant: None") == [
        Message("system", "Be brief."),
        Message("user", "Water\nbed 3."),
        Message("assistant", ""),
    ]
    assert turns_of("Note for the user: water bed 3.") == []


def test_a_tools_description_among_the_messages_is_no_answer():
    tool = {"role": "tool", "content": {"type": "function", "function": {"name": "water"}}}
    assert turns_of([OPENAI[0], tool]) == [ASKED]


@pytest.mark.parametrize(
    ("flags", "failed"),
    [
        ({"is_error": True}, True),
        ({"error": False}, False),
        ({"status": "error"}, True),
        ({"status": "success"}, False),
        ({"content": "Error: no such bed"}, True),
        ({}, None),
    ],
)
def test_whether_a_tool_failed_is_said_by_its_flags_else_by_the_word_error(flags, failed):
    assert turns_of({"role": "tool", "content": "x", **flags})[0].is_error is failed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hi", "hi"),
        ({"input": "hi", "k": 2}, "hi"),
        ({"args": ["hi"], "kwargs": {}}, "hi"),
        ('{"question": "hi"}', "hi"),
        ({"k": 2}, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_the_plain_text_of_an_input_lies_under_its_usual_names(value, text):
    assert plain_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3 litres", "3 litres"),
        ({"output": "3 litres"}, "3 litres"),
        ({"litres": 3}, '{"litres":3}'),
        (lc("ToolMessage", content="3 litres", status="success"), "3 litres"),
        (3, "3"),
        (None, ""),
    ],
)
def test_a_tools_answer_is_unwrapped(value, text):
    assert answer_of(value).text == text


def test_a_tools_name_holds_no_spaces_and_is_never_empty():
    assert (tool_name("look up"), tool_name(""), tool_name(None)) == ("look_up", "invalid", "invalid")


@given(any_json)
def test_any_json_is_read_or_refused(value):
    for read in (turns_of, plain_text, answer_of):
        with suppress(REFUSED):
            read(value)
