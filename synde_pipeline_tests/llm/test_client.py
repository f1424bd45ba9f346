"""The client against a server that misbehaves: what is tried again, repaired or given up, and what errors say."""

import time

import pytest

from synde_pipeline.errors import InputError, LlmError
from synde_pipeline.llm import Llm, Usage
from synde_pipeline.settings import LlmConfig
from synde_pipeline_tests.llm.colours import GOOD, KEY, Colour, request
from synde_pipeline_tests.llm_server import answers, dribbles, floods, refuses, resets, says, sleeps, truncates

COLOUR_SCHEMA = {
    "name": "Colour",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
}


def test_an_answer_is_asked_for_with_its_schema_and_asked_only_once(server, warehouse, ask_with):
    llm = ask_with()
    assert llm.ask(request("blue")) == Colour(name="blue")
    (body,) = server.asked
    assert body["model"] == "small"
    assert body["response_format"] == {"type": "json_schema", "json_schema": COLOUR_SCHEMA}
    assert (body["temperature"], body["max_tokens"]) == (0.0, 1024)
    assert server.keys == {f"Bearer {KEY}"}
    again = ask_with()
    assert again.ask(request("blue")) == Colour(name="blue")
    assert len(server.asked) == 1
    assert again.usage == Usage(cached=1)
    assert llm.usage == Usage(calls=1, tokens_in=100, tokens_out=20)


@pytest.mark.parametrize(
    "move",
    [
        refuses(429, Retry_After="0.01"),
        refuses(500),
        refuses(503),
        resets(),
        says(b"<html>busy</html>"),
        says(b'{"choices": []}'),
        truncates(),
        truncates(is_chunked=True),
        sleeps(1.0),
        dribbles(0.02),
    ],
    ids=["429", "500", "503", "reset", "html", "nothing", "truncated", "chunked", "slow", "dribble"],
)
def test_what_may_pass_is_tried_again(server, ask_with, move):
    llm = ask_with(move, timeout_s=0.3)
    assert llm.ask(request("green")) == Colour(name="green")
    assert len(server.asked) == llm.usage.calls == 2


def test_retry_after_is_waited_for_and_a_longer_one_than_a_minute_is_an_error(server, ask_with):
    started = time.monotonic()
    ask_with(refuses(429, Retry_After="0.25")).ask(request())
    assert time.monotonic() - started >= 0.25
    with pytest.raises(LlmError, match=r"429, at try 1"):
        ask_with(refuses(429, Retry_After="3600")).ask(request("x"))


def test_it_gives_up_after_its_attempts_and_names_no_text(server, ask_with):
    with pytest.raises(LlmError, match=r"test:1: the server answered 500 \(overloaded\), at try 3") as error:
        ask_with(*[refuses(500, {"message": f"key {KEY} which?", "type": "overloaded"})] * 3, attempts=3).ask(request())
    assert len(server.asked) == 3
    assert KEY not in str(error.value)
    assert "which?" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (refuses(401, {"message": f"bad key {KEY}", "code": "invalid_api_key"}), "401 .invalid_api_key"),
        (refuses(400, {"message": "long", "code": KEY}), "answered 400,"),
        (floods(2**20), "larger than"),
        (answers(GOOD, refusal="I will not"), "refused"),
    ],
    ids=["key", "code", "flood", "refusal"],
)
def test_what_will_not_pass_is_not_tried_again(server, ask_with, move, said):
    with pytest.raises(LlmError, match=said) as error:
        ask_with(move).ask(request())
    assert len(server.asked) == 1
    assert KEY not in str(error.value)


def test_a_model_that_knows_the_newer_name_of_the_limit_only_gets_it(server, ask_with):
    llm = ask_with(refuses(400, {"message": "use another", "param": "max_tokens", "code": "unsupported_parameter"}))
    llm.ask(request())
    llm.ask(request("x"))
    assert ["max_tokens" in body for body in server.asked] == [True, False, False]
    assert server.asked[1]["max_completion_tokens"] == 1024


@pytest.mark.parametrize(
    "bad",
    [answers("no json"), answers('{"colour": "red"}'), answers('{"name": 3}'), answers('{"name": "r', finish="length")],
    ids=["text", "other", "wrong", "cut"],
)
def test_an_invalid_answer_is_repaired_once(server, warehouse, ask_with, bad):
    llm = ask_with(bad, answers(GOOD))
    assert llm.ask(request()) == Colour(name="red")
    assert [message["role"] for message in server.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert "cannot be used" in server.asked[1]["messages"][3]["content"]
    kept = llm.answer_of(request())
    assert (kept.calls, kept.tokens_in, kept.tokens_out) == (2, 200, 40)
    assert ask_with().ask(request()) == Colour(name="red")
    assert len(server.asked) == 2


def test_an_answer_that_stays_invalid_is_an_error_and_is_not_kept(server, warehouse, ask_with):
    llm = ask_with(answers('{"hue": "purple-9"}'), answers('{"hue": "purple-9"}'))
    with pytest.raises(LlmError, match="extra_forbidden, missing") as error:
        llm.ask(request())
    assert "purple-9" not in str(error.value)
    assert llm.cached(request()) is None
    assert len(server.asked) == 2


def test_without_an_endpoint_the_error_says_what_to_set(warehouse):
    with pytest.raises(InputError, match="SYNDE_LLM_URL and SYNDE_LLM_MODEL"):
        Llm(warehouse, LlmConfig()).ask(request())
