"""Another server writes: its answers pass through, memory goes in, its key and its words about errors not out.

The upstream is a small real HTTP server that streams what a test tells it to.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from synde_pipeline.memory.context_memory import ContextMemory
from synde_pipeline_tests.serving.process import listening, serving, waited_for

HI = [{"role": "user", "content": "please renew my loan"}]


def delta(ending=None, **words) -> dict:
    return {"choices": [{"index": 0, "delta": words, "finish_reason": ending}]}


class Upstream(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict]] = []
        self.events: list[dict] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers.get("Authorization", ""), body))
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if self.server.status != 200:
            self.wfile.write(b'{"error": {"message": "key sk-secret is wrong"}}')
            return
        for event in self.server.events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    home = tmp_path_factory.mktemp("upstream") / "home"
    home.mkdir()
    (home / "settings.json").write_text('{"memory": {"embedder": "hashing"}}')
    memory = ContextMemory(home)
    memory.add("Ask for the member's name first.", title="Who is calling", domain="library")
    with listening(Upstream()) as other:
        words = ("--upstream", other.url, "--upstream-model", "big")
        with serving(home, *words, SYNDE_SERVE_DOMAIN="library", SYNDE_UPSTREAM_KEY="sk-secret") as server:
            yield server, other, home


CALLS = [
    delta(role="assistant", content="Let me see."),
    delta(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"card":'}}]),
    delta(tool_calls=[{"index": 1, "id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '"4417"}'}}]),
    delta("tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}},
]


def test_calls_pass_through_whole_and_streamed_and_are_logged(two):
    server, other, home = two
    other.events, other.status = CALLS, 200
    words = {"model": "anything", "messages": HI, "tools": [{"type": "function", "function": {"name": "find"}}]}
    raw = server.client().chat.completions.with_raw_response.create(**words, extra_body={"min_p": 0.1})
    whole = raw.parse()
    said = whole.choices[0].message
    assert said.content == "Let me see."
    assert [(c.id, c.function.name, c.function.arguments) for c in said.tool_calls] == [
        ("c1", "find", '{"card":"4417"}'),
        ("c2", "look", "{}"),
    ]
    assert (whole.choices[0].finish_reason, whole.usage.total_tokens) == ("tool_calls", 12)
    assert raw.headers["x-synde-layers"] == "context"
    key, body = other.asked[-1]
    assert key == "Bearer sk-secret"
    assert (body["model"], body["min_p"], body["tools"]) == ("big", 0.1, words["tools"])
    assert body["messages"][1:] == HI
    assert "Ask for the member's name first." in body["messages"][0]["content"]
    parts = list(server.client().chat.completions.create(**words, stream=True))
    arguments = [part.choices[0].delta.tool_calls for part in parts if part.choices]
    assert "".join(c.function.arguments for calls in arguments if calls for c in calls if c.index == 0) == (
        '{"card":"4417"}'
    )
    server.post("/feedback", json={"id": whole.id, "outcome": "success"})
    run = next(run for run in waited_for(home, 1) if run["outcome"] == "success")
    assert [(step["tool"], step["reasoning"]) for step in run["steps"]] == [("find", "Let me see."), ("look", "")]
    assert len(run["shown_memory"]) == 1


def test_texts_go_to_the_route_of_texts(two):
    server, other, _ = two
    other.events = [{"choices": [{"index": 0, "text": "once", "finish_reason": "stop"}]}]
    assert server.client().completions.create(model="any", prompt="begin").choices[0].text == "once"
    assert other.asked[-1][1]["prompt"] == "begin"
    assert "messages" not in other.asked[-1][1]


@pytest.mark.parametrize(("status", "told"), [(400, 400), (401, 502), (429, 429), (500, 502)])
def test_an_error_of_the_upstream_is_told_without_its_words(two, status, told):
    server, other, _ = two
    other.status = status
    with pytest.raises(openai.APIStatusError) as caught:
        server.client().chat.completions.create(model="any", messages=HI)
    other.status = 200
    assert caught.value.status_code == told
    assert "secret" not in str(caught.value.body)


def test_an_answer_that_breaks_off_is_an_error_whole_and_streamed(two):
    server, other, _ = two
    other.events = CALLS[:2]
    with pytest.raises(openai.APIStatusError, match="broke off"):
        server.client().chat.completions.create(model="any", messages=HI)
    with pytest.raises(openai.APIError, match="broke off"):
        list(server.client().chat.completions.create(model="any", messages=HI, stream=True))


def test_an_upstream_that_is_not_there_is_a_bad_gateway(tmp_path):
    with serving(tmp_path / "home", "--upstream", "http://127.0.0.1:1/v1") as server:
        with pytest.raises(openai.InternalServerError) as caught:
            server.client().chat.completions.create(model="any", messages=HI)
        assert caught.value.status_code == 502
        assert [model.id for model in server.client().models.list()] == ["synde"]
