"""The server as its clients see it: a real process, the official client, keys, errors, logs."""

import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import openai
import pytest

from synde_pipeline.serving.keys import add_key, read_keys
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.serving.process import landed, serving, waited_for

HI = [{"role": "user", "content": "please renew my loan"}]
TOOLS = [{"type": "function", "function": {"name": "get_loan", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "home"
    pin_tiny(Warehouse(folder / "warehouse"))
    return folder


@pytest.fixture(scope="module")
def server(home):
    with serving(home, SYNDE_SERVE_DOMAIN="library") as running:
        yield running


def test_an_answer_whole_and_streamed_is_the_same_answer(server):
    client = server.client()
    words = {"model": "synde", "messages": HI, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**words)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 12
    parts = list(client.chat.completions.create(**words, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == whole.choices[0].message.content
    assert parts[-1].usage == whole.usage
    assert [p.choices[0].finish_reason for p in parts if p.choices][-1] == "length"
    assert len({p.id for p in parts}) == 1


def test_a_text_is_gone_on_with(server):
    client = server.client()
    words = {"model": "synde:base", "prompt": "please renew", "temperature": 0, "max_tokens": 8}
    whole = client.completions.create(**words)
    streamed = "".join(part.choices[0].text for part in client.completions.create(**words, stream=True))
    assert whole.choices[0].text == streamed


def test_a_stop_of_the_clients_ends_the_answer_before_it(server):
    client = server.client()
    words = {"model": "synde", "messages": HI, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**words).choices[0].message.content
    stop = whole[3:5]
    cut = client.chat.completions.create(**words, stop=[stop]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "there is no model 'gpt-4o'; expected synde"),
        ({"n": 2}, openai.BadRequestError, "one answer a request"),
        ({"tool_choice": "required", "tools": TOOLS}, openai.BadRequestError, "decides for itself"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, openai.BadRequestError, "messages"),
        ({"messages": []}, openai.BadRequestError, "messages: List should have at least 1 item"),
        ({"temperature": 9}, openai.BadRequestError, "temperature: Input should be less than"),
        ({"extra_headers": {"x-synde-domain": "Not A Domain"}}, openai.BadRequestError, "header x-synde-domain"),
        ({"extra_headers": {"x-synde-task": "a:b:c"}}, openai.BadRequestError, "another domain than library"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, openai.BadRequestError, "no user turn"),
    ],
)
def test_errors_have_openais_shape(server, words, error, says):
    with pytest.raises(error) as caught:
        server.client().chat.completions.create(**{"model": "synde", "messages": HI, **words})
    assert says in caught.value.message
    assert caught.value.body.keys() == {"message", "type", "param", "code"}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server):
    with pytest.raises(openai.APIStatusError) as caught:
        server.client().chat.completions.create(model="synde", messages=[{"role": "user", "content": "x" * 5_000_000}])
    assert caught.value.status_code == 413


def test_without_keys_foreign_hosts_and_pages_are_refused(server):
    body = json.dumps({"model": "synde", "messages": HI, "max_tokens": 1})
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        answer = server.post("/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code == 401, headers
    for headers in ({"host": "localhost:1"}, {"origin": "http://127.0.0.1:3000"}):
        assert server.post("/v1/chat/completions", content=body, headers=headers).status_code == 200, headers


def test_models_are_listed_with_their_lineage(server):
    found = {model.id: model for model in server.client().models.list()}
    assert set(found) == {"synde", "synde:base"}
    assert server.client().models.retrieve("synde").lineage == found["synde"].lineage
    with pytest.raises(openai.NotFoundError):
        server.client().models.retrieve("other")
    assert server.get("/nowhere").json()["error"]["type"] == "not_found_error"
    assert found["synde"].lineage == {"hash": found["synde"].lineage["hash"], "parent": None} | {
        "cycle": None,
        "adapters": [],
        "domains": {},
    }


def test_two_hundred_requests_at_once_are_all_answered_and_none_is_mixed_up(server, home):
    n = 200
    before = len(landed(home))

    async def one(client, k: int):
        words = {"messages": [{"role": "user", "content": f"renew loan number {k}"}], "max_tokens": 6}
        answer = await client.chat.completions.create(model="synde", seed=k, **words)
        server_says = await asyncio.to_thread(server.post, "/feedback", json={"id": answer.id, "outcome": "success"})
        return answer.choices[0].message.content, server_says.json()["trace_uid"]

    async def all_of(numbers):
        async with server.many(timeout=120) as client:
            return await asyncio.gather(*(one(client, k) for k in numbers))

    together = asyncio.run(all_of(range(n)))
    alone = [asyncio.run(all_of([k]))[0][0] for k in range(0, n, 10)]
    assert [text for text, _ in together][::10] == alone
    assert len({text for text, _ in together}) > 0.9 * n
    runs = {run["trace_uid"]: run for run in waited_for(home, before + n + len(alone))}
    for k, (text, uid) in enumerate(together):
        assert runs[uid]["task"] == f"renew loan number {k}"
        assert runs[uid]["steps"][0]["arguments"] == text
        assert (runs[uid]["outcome"], runs[uid]["label_source"], runs[uid]["domain"]) == ("success", "user", "library")


def test_feedback_after_the_trace_landed_is_a_late_label_and_is_only_taken_once_known(server, home):
    answer = server.client().chat.completions.create(
        model="synde", messages=HI, max_tokens=1, extra_headers={"x-synde-trace": "late"}
    )
    assert server.post("/traces/late/close").json() == {"trace_uid": "served:late", "state": "closed"}
    assert server.post("/traces/late/close").status_code == 404
    until = [run for run in waited_for(home, 10**6, 3) if run["trace_uid"] == "served:late"]
    assert [run["outcome"] for run in until] == ["unknown"]
    assert server.post("/feedback", json={"id": answer.id, "score": 0.2}).json()["state"] == "labelled"
    waited_for(home, 10**6, 2)
    (file,) = (home / "warehouse" / "landing").glob("day=*/labels-*.jsonl")
    label = json.loads(file.read_text("utf-8"))
    assert (label["trace_uid"], label["outcome"], label["reward"]) == ("served:late", "failure", 0.2)
    assert server.post("/feedback", json={"id": "chatcmpl-unknown", "outcome": "success"}).status_code == 404
    assert server.post("/feedback", json={"id": answer.id}).status_code == 400


def test_the_readmes_client_works(server):
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```py\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    code = code.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_connection_outlives_what_clients_keep_idle(server):
    """Else a request that is on its way while the server closes is lost: clients keep connections for 5 s."""
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for pause in (6.5, 0):
        held.request("GET", "/healthz")
        assert json.loads(held.getresponse().read())["status"] == "ok"
        time.sleep(pause)
    held.close()


def test_memory_can_be_asked_and_metrics_count(server):
    told = server.post("/recall", json={"task": "renew my loan"}).json()
    assert (told["domain"], told["items"]) == ("library", [])
    text = server.get("/metrics").text
    assert 'synde_answers_total{layers="none"}' in text
    assert "synde_champion_swaps_total 0.0" in text


def test_a_second_server_on_the_same_warehouse_is_refused(server, home):
    with pytest.raises(AssertionError, match="is held by"):
        serving(home).__enter__()


def test_keys_open_hide_and_part(tmp_path):
    home = tmp_path / "home"
    pin_tiny(Warehouse(home / "warehouse"))
    mine, theirs = add_key(home, "mine", "library"), add_key(home, "theirs", None)
    assert (home / "serving" / "keys.json").stat().st_mode & 0o777 == 0o600
    with serving(home, "--host", "0.0.0.0") as server:
        with pytest.raises(openai.AuthenticationError):
            server.client("wrong").models.list()
        assert server.get("/metrics").status_code == 401
        answer = server.client(mine).chat.completions.create(model="synde", messages=HI, max_tokens=2)
        said = {"id": answer.id, "outcome": "success"}
        for secret, status in ((theirs, 404), (mine, 200)):
            found = server.post("/feedback", json=said, headers={"authorization": f"Bearer {secret}"})
            assert found.status_code == status
        (run,) = waited_for(home, 1)
        assert (run["source"], run["domain"]) == ("served-mine", "library")
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert mine.encode() not in held
    assert [key.name for key in read_keys(home)] == ["mine", "theirs"]


def test_others_are_not_let_in_without_keys(tmp_path):
    home = tmp_path / "home"
    pin_tiny(Warehouse(home / "warehouse"))
    with pytest.raises(AssertionError, match="there are no keys"):
        serving(home, "--host", "0.0.0.0").__enter__()


def test_stopping_ends_well_and_keeps_what_is_open(tmp_path):
    home = tmp_path / "home"
    pin_tiny(Warehouse(home / "warehouse"))
    words = {"model": "synde", "max_tokens": 4, "temperature": 0}
    with serving(home) as server:
        first = server.client().chat.completions.create(messages=HI, **words)
        assert server.stop() == 0
    assert landed(home) == []
    with serving(home) as server:
        talk = [*HI, first.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": "and?"}]
        second = server.client().chat.completions.create(messages=talk, **words)
        server.post("/feedback", json={"id": first.id, "outcome": "partial"})
        (run,) = waited_for(home, 1)
    assert [step["arguments"] for step in run["steps"]] == [
        first.choices[0].message.content,
        second.choices[0].message.content,
    ]
    with pytest.raises(httpx2.ConnectError):
        server.get("/healthz")
