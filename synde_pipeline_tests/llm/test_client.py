"""The client against a server that misbehaves: retries, repair, budget, concurrency, cache, and the key."""

import json
import threading
import time

import pytest
from pydantic import BaseModel, ConfigDict

from synde_pipeline.errors import InputError, LlmBudgetError, LlmError, MissingAnswerError
from synde_pipeline.llm import Llm, Message, Request, Usage, purge_answers
from synde_pipeline.settings import LlmConfig
from synde_pipeline_tests import llm_server as server_module
from synde_pipeline_tests.llm_server import (
    answers,
    completion,
    dribbles,
    floods,
    refuses,
    resets,
    says,
    sleeps,
    truncates,
)

KEY = "wx-9f8e7d6c5b4a-secret"


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


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
GOOD = '{"name": "red"}'


def request(text: str = "which?", uid: str = "test:1") -> Request[Colour]:
    return Request((Message("system", "You name colours."), Message("user", text)), Colour, (uid,))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("SYNDE_LLM_KEY", KEY)
    with server_module.serving(lambda body: json.dumps({"name": body["messages"][1]["content"]})) as found:
        yield found


def config(server, **values) -> LlmConfig:
    return LlmConfig(**({"base_url": server.url, "model": "small", "pause_s": 0.001, "timeout_s": 5} | values))


@pytest.fixture
def ask_with(server, warehouse):
    return lambda *moves, **values: (server.moves.extend(moves), Llm(warehouse, config(server, **values)))[1]


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
    "change",
    [
        lambda r, c: (Request(r.messages, Colour, ("test:2",)), c),
        lambda r, c: (request("other"), c),
        lambda r, c: (r, c.model_copy(update={"model": "large"})),
        lambda r, c: (r, c.model_copy(update={"temperature": 0.5})),
        lambda r, c: (r, c.model_copy(update={"max_output_tokens": 99})),
    ],
)
def test_another_model_parameter_message_or_source_is_another_answer(server, warehouse, change):
    Llm(warehouse, config(server)).ask(request())
    other, changed = change(request(), config(server))
    assert Llm(warehouse, changed).cached(other) is None
    same = config(server).model_copy(update={"timeout_s": 1, "max_cost": 3, "price_in": 1, "base_url": None})
    assert Llm(warehouse, same).cached(request()) == Colour(name="which?")


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


def test_rewording_a_docstring_asks_for_nothing_anew_and_properties_may_have_any_name(server, ask_with):
    class Page(BaseModel):
        """Once."""

        title: str
        description: str

    before = Request(request().messages, Page, ("test:1",))
    server.moves.append(answers('{"title": "a", "description": "b"}'))
    ask_with().ask(before)
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"title": {"type": "string"}, "description": {"type": "string"}}
    Page.__doc__ = "Again."
    Page.model_rebuild(force=True)
    assert ask_with().ask(before) == Page(title="a", description="b")
    assert len(server.asked) == 1


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


def test_no_call_is_made_that_could_exceed_the_budget(server, ask_with):
    llm = ask_with(max_tokens=3000)
    most = llm.price(request("000"))
    assert most.calls == 1
    assert 1024 < most.tokens < 3000
    with pytest.raises(LlmBudgetError, match="budget of 3000 tokens"):
        [llm.ask(request(f"{k:03}")) for k in range(100)]
    spent = llm.usage.tokens_in + llm.usage.tokens_out
    assert 3000 - most.tokens < spent <= 3000
    assert llm.usage.calls == len(server.asked) == spent / 120
    assert ask_with(max_tokens=1).ask(request("000")) == Colour(name="000")  # it is there already


def test_money_is_a_budget_too_and_calls_in_flight_count(server, ask_with):
    prices = {"price_in": 10.0, "price_out": 1000.0, "max_output_tokens": 100, "concurrency": 8}
    most = ask_with(**prices).price(request("0")).cost
    assert most > 0.1
    llm = ask_with(*[sleeps(0.2)] * 2, **prices, max_cost=2.5 * most)
    with pytest.raises(LlmBudgetError, match="in flight"):
        llm.each(llm.ask, [request(str(k)) for k in range(8)])
    assert len(server.asked) == 2
    with pytest.raises(InputError, match="max_cost without a price"):
        ask_with(max_cost=1.0)


@pytest.mark.parametrize("move", [truncates(), sleeps(0.5)], ids=["truncated", "slow"])
def test_what_may_have_been_billed_is_counted_as_the_most_it_can_be(server, ask_with, move):
    llm = ask_with(move, timeout_s=0.2)
    most = llm.price(request())
    llm.ask(request())
    assert llm.usage.tokens_in + llm.usage.tokens_out == most.tokens + 120


def test_a_server_that_does_not_say_what_it_used_is_counted_as_the_most(server, ask_with):
    llm = ask_with(answers(GOOD, usage=None))
    most = llm.price(request())
    llm.ask(request())
    assert llm.usage.tokens_in + llm.usage.tokens_out == most.tokens


def test_so_many_requests_are_in_flight_and_no_more_and_answers_keep_their_order(server, ask_with):
    llm = ask_with(*[sleeps(0.02)] * 30, concurrency=3)
    found = llm.each(llm.ask, [request(str(k)) for k in range(30)])
    assert [colour.name for colour in found] == [str(k) for k in range(30)]
    assert server.most_in_flight == 3


def test_after_an_error_what_came_is_kept_and_the_next_run_goes_on(server, ask_with):
    requests = [request(str(k)) for k in range(20)]
    llm = ask_with(*[answers()] * 6, refuses(401), concurrency=2)
    with pytest.raises(LlmError):
        llm.each(llm.ask, requests)
    asked = len(server.asked)
    assert asked <= 9
    again = ask_with()
    missing = again.missing(requests)
    assert len(missing) == 20 - (asked - 1)
    again.each(again.ask, requests)
    assert len(server.asked) == asked + len(missing)


def test_a_failure_ends_the_pauses_of_the_others(server, ask_with):
    llm = ask_with(refuses(429, Retry_After="50"), sleeps(0.2, refuses(401)), concurrency=2)
    done = threading.Event()

    def work() -> None:
        with pytest.raises(LlmError):
            llm.each(llm.ask, [request("1"), request("2")])
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20)


def test_without_calls_only_what_is_there_is_answered(server, ask_with):
    ask_with().ask(request("there"))
    llm = ask_with(is_offline=True)
    assert llm.ask(request("there")) == Colour(name="there")
    with pytest.raises(MissingAnswerError, match="switched off"):
        llm.ask(request("new"))
    assert len(server.asked) == 1


def test_without_an_endpoint_the_error_says_what_to_set(warehouse):
    with pytest.raises(InputError, match="SYNDE_LLM_URL and SYNDE_LLM_MODEL"):
        Llm(warehouse, LlmConfig()).ask(request())


def test_an_answer_goes_with_its_trajectories_and_no_others(server, warehouse, ask_with):
    llm = ask_with()
    both = Request(request("both").messages, Colour, ("test:1", "test:2"))
    for one in (request("a"), request("a", "test:2"), both, request("b", "test:3")):
        llm.ask(one)
    assert purge_answers(warehouse, {"test:1", "test:9"}) == 2
    assert llm.cached(request("a")) is None
    assert llm.cached(both) is None
    assert llm.missing([request("a", "test:2"), request("b", "test:3")]) == []


def test_the_key_is_nowhere(server, warehouse, ask_with):
    ask_with().ask(request())
    files = [path.read_bytes() for path in warehouse.root.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in data for data in files)
    assert KEY not in repr(vars(config(server)))


def test_an_unreadable_answer_is_asked_for_again(server, warehouse, ask_with):
    llm = ask_with()
    llm.ask(request())
    (path,) = warehouse.root.rglob("*.json")
    path.write_text(path.read_text()[:20])
    llm.ask(request())
    path.write_text(completion("{}").decode())
    llm.ask(request())
    assert len(server.asked) == 3
