"""The champion on another server: the very tokens of training go there, under the adapter's name, and are read back.

The other server is a small real one: the tiny base with the exported adapters, behind `/completions`.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from synde_pipeline.base_model import load
from synde_pipeline.models.export import export, served_headers
from synde_pipeline.models.registry import champion, promote
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import read
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_bank import trained
from synde_pipeline_tests.models_for_tests import pin_tiny, tiny, tokenizer
from synde_pipeline_tests.serving.process import listening, serving, start
from synde_pipeline_tests.serving.test_engine import greedy

pytestmark = pytest.mark.slow


class Remote(ThreadingHTTPServer):
    """The tiny base with adapters by name."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = tiny()
        self.names = sorted(one.name for one in folder.iterdir())
        self.bank = AdapterBank.of(self.model, [read(folder / name) for name in self.names])
        self.asked: list[dict] = []
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Remote

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append({"path": self.path, **body})
        found = self.path == "/v1/completions" and body["model"] in server.names
        self.send_response(200 if found else 404)
        self.end_headers()
        if not found:
            return
        with server.lock, torch.inference_mode():
            ids = greedy(
                server.model, body["prompt"], body["max_tokens"], server.bank, server.names.index(body["model"])
            )
        stop = next((k for k, token in enumerate(ids) if token in body["stop_token_ids"]), None)
        said = ids if stop is None else ids[:stop]
        for k in range(0, len(said) + 1, 3):
            text = tokenizer().decode(said[k : k + 3])
            self.event({"choices": [{"text": text, "finish_reason": None}]})
        self.event({"choices": [{"text": "", "finish_reason": "length" if stop is None else "stop"}]})
        self.event({"choices": [], "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(said)}})

    def event(self, what: dict) -> None:
        self.wfile.write(f"data: {json.dumps(what)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path) -> Path:
    warehouse = Warehouse(tmp_path / "home" / "warehouse")
    pin_tiny(warehouse)
    cycle, model = trained(warehouse, DAY, "site:a", "site:b", "site:c")
    promote(warehouse, cycle, model, "passed")
    export(warehouse, served_headers(warehouse, champion(warehouse).domains), tmp_path / "exported", "adapters")
    return tmp_path / "home"


def test_what_the_remote_champion_answers_is_what_the_local_one_does(home, tmp_path):
    words = {
        "model": "synde",
        "messages": [{"role": "user", "content": "please renew my loan"}],
        "temperature": 0,
        "max_tokens": 9,
        "extra_headers": {"x-synde-domain": "library", "x-synde-scope": "site:c"},
    }
    with listening(Remote(tmp_path / "exported")) as other:
        url = f"http://127.0.0.1:{other.server_port}/v1"
        with serving(home, "--upstream", url, "--upstream-adapters") as server:
            raw = server.client().chat.completions.with_raw_response.create(**words)
            there = raw.parse()
            streamed = list(server.client().chat.completions.create(**words, stream=True))
        (asked, _) = other.asked
    assert raw.headers["x-synde-adapter"] == "library-0001/g01"
    assert (asked["model"], asked["skip_special_tokens"]) == ("library-0001-g01", False)
    base = load(Warehouse(home / "warehouse"))
    assert tokenizer().decode(asked["prompt"]).startswith("<|task|>library: please renew my loan")
    assert asked["stop_token_ids"] == base.tokenizer.convert_tokens_to_ids(["<|end|>"])
    with serving(home) as server:
        here = server.client().chat.completions.create(**words)
    assert there.choices[0].message.content == here.choices[0].message.content
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == here.choices[0].message.content
    assert there.choices[0].finish_reason == here.choices[0].finish_reason == "length"


def test_adapters_elsewhere_need_a_pinned_base_here(tmp_path):
    with pytest.raises(AssertionError, match="no base model is pinned"):
        start(tmp_path / "empty", "--upstream", "http://127.0.0.1:1/v1", "--upstream-adapters")
