"""Under load: the champion changes and no request is dropped; the server is killed and no answer is lost or doubled."""

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest

from synde_pipeline.models.overrule import carry_out, promotion
from synde_pipeline.models.registry import champion, promote
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_bank import ROUTED, SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.serving.process import landed, serving, start, waited_for


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory):
    """A warehouse whose domain `library` has two cycles, the first of which is served."""
    home = tmp_path_factory.mktemp("load") / "home"
    warehouse = Warehouse(home / "warehouse")
    pin_tiny(warehouse)
    first, model = trained(warehouse, DAY, "site:a", "site:b")
    promote(warehouse, first, model, "passed")
    longer = ROUTED.model_copy(update={"max_steps": 60, "learning_rate": 0.05})
    config = SETTINGS.model_copy(update={"training": longer})
    second, _ = trained(warehouse, DAY + timedelta(1), "site:a", config=config)
    return home, [first.key, second.key]


def swap(warehouse: Warehouse, keys: list[str]) -> None:
    """Serve the other of the two."""
    (other,) = {*keys} - {champion(warehouse).domains["library"].cycle}
    carry_out(warehouse, promotion(warehouse, other), "swap")


pytestmark = pytest.mark.slow
HEADERS = {"x-synde-domain": "library", "x-synde-scope": "site:a"}


def test_a_champion_that_changes_twenty_times_under_load_costs_no_request(trained_home):
    home, keys = trained_home
    warehouse = Warehouse(home / "warehouse")
    words = {"model": "synde", "max_tokens": 30, "seed": 1, "extra_headers": HEADERS}
    adapters: Counter[str] = Counter()
    texts: dict[str, set[str]] = {}
    is_over = threading.Event()

    async def ask(client):
        while not is_over.is_set():
            talk = [{"role": "user", "content": "renew my loan"}]
            raw = await client.chat.completions.with_raw_response.create(messages=talk, **words)
            name = raw.headers["x-synde-adapter"]
            adapters[name] += 1
            texts.setdefault(name, set()).add(raw.parse().choices[0].message.content)

    async def load(server):
        async with server.many(timeout=120) as client:
            await asyncio.gather(*(ask(client) for _ in range(16)))

    with serving(home, "--no-log", SYNDE_SERVE_LAYERS="weights") as server:
        clients = threading.Thread(target=lambda: asyncio.run(load(server)))
        clients.start()
        try:
            for _ in range(20):
                swap(warehouse, keys)
                expected, until = champion(warehouse).hash[:16], time.monotonic() + 30
                while server.get("/healthz").json()["champion"] != expected:
                    assert time.monotonic() < until
                    time.sleep(0.05)
                time.sleep(0.2)
        finally:
            is_over.set()
            clients.join()
        counted = server.get("/metrics").text
    assert "synde_champion_swaps_total 20.0" in counted
    ok = [line for line in counted.splitlines() if 'route="/v1/chat/completions"' in line and "_total" in line]
    assert len(ok) == 1  # no status but one
    assert f'status="200"}} {float(adapters.total())}' in ok[0]
    assert set(adapters) == {f"{key}/g00" for key in keys}
    assert [len(found) for found in texts.values()] == [1, 1]  # each version always says what it says
    assert len(set.union(*texts.values())) == 2


class Client:
    """Asks until it is told to stop, whatever becomes of the server; remembers each answer that came whole."""

    def __init__(self) -> None:
        self.answered: dict[str, tuple[str, str]] = {}
        self.is_over = False

    async def run(self, server, name: str, *, stream: bool) -> None:
        k = 0
        async with server.many(timeout=60) as client:
            while not self.is_over:
                k += 1
                task = f"{name} renews loan {k}"
                talk = [{"role": "user", "content": task}]
                try:
                    words = {"model": "synde", "messages": talk, "max_tokens": 5}
                    if stream:
                        identity, text = "", ""
                        async for part in await client.chat.completions.create(**words, stream=True):
                            identity, text = part.id, text + (part.choices[0].delta.content or "")
                    else:
                        answer = await client.chat.completions.create(**words)
                        identity, text = answer.id, answer.choices[0].message.content
                    self.answered[identity] = task, text
                except Exception:  # noqa: BLE001 - the server was killed: what was not answered need not be kept
                    await asyncio.sleep(0.1)


def killed_under_load(home, times: int, seed: int) -> Client:
    """Kill a server some times while eight clients ask, start it again each time; returns what was answered."""
    chance, client = random.Random(seed), Client()
    server = start(home, SYNDE_SERVE_IDLE_S="0.5")
    port = server.port

    async def load():
        await asyncio.gather(*(client.run(server, f"client {n}", stream=bool(n % 2)) for n in range(8)))

    clients = threading.Thread(target=lambda: asyncio.run(load()))
    clients.start()
    try:
        for _ in range(times):
            time.sleep(chance.uniform(0.2, 2.5))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server = start(home, port=port, SYNDE_SERVE_IDLE_S="0.5")
        time.sleep(1)
    finally:
        client.is_over = True
        clients.join()
    # What is open is over after half a second.
    waited_for(home, len(client.answered), 30)
    time.sleep(3)
    assert server.stop() == 0
    return client


def check_landed_once(home, client: Client) -> None:
    runs = landed(home)
    by_task = Counter(run["task"] for run in runs)
    said = {run["task"]: run["steps"][-1]["arguments"] for run in runs}
    assert len(client.answered) > 20
    for task, text in client.answered.values():
        assert by_task[task] == 1, task
        assert said[task] == text
    assert set(by_task.values()) == {1}  # also what was answered as the server was killed


def test_every_answer_lands_exactly_once_over_twenty_kills(tmp_path):
    home = tmp_path / "home"
    pin_tiny(Warehouse(home / "warehouse"))
    check_landed_once(home, killed_under_load(home, 20, seed=1))
