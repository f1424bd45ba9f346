"""`synde serve` in a process of its own, and clients that speak to it as anybody would."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from openai import AsyncOpenAI, OpenAI

from synde_pipeline_tests.killing import hear_ctrl_c

S = TypeVar("S", bound=ThreadingHTTPServer)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Running:
    """A server that answers."""

    process: subprocess.Popen[str]
    port: int
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = "none", **words: Any) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **words)

    def many(self, key: str = "none", **words: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **words)

    def post(self, path: str, **words: Any) -> httpx2.Response:
        return httpx2.post(f"{self.url}{path}", timeout=60, **words)

    def get(self, path: str, **words: Any) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", timeout=60, **words)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def start(home: Path, *words: str, port: int | None = None, **env: str) -> Running:
    """Start a server and wait until it answers."""
    port = port or free_port()
    errors = home.with_name(f"{home.name}.errors")
    known = {
        **os.environ,
        "SYNDE_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "SYNDE_EMBEDDER": "hashing",
        "SYNDE_SERVE_FILE_S": "0.3",
    } | env
    command = [sys.executable, "-W", "ignore", "-m", "synde_pipeline.cli", "serve", "--port", str(port), *words]
    with errors.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env=known, stdout=subprocess.DEVNULL, stderr=file, text=True, preexec_fn=hear_ctrl_c
        )
    running = Running(process, port, errors)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}: {errors.read_text('utf-8')[-2000:]}")
        try:
            if running.get("/healthz").status_code == 200:
                return running
        except httpx2.TransportError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError("the server did not answer within two minutes")


@contextmanager
def serving(home: Path, *words: str, **env: str) -> Iterator[Running]:
    """A server for the time of a block."""
    running = start(home, *words, **env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


@contextmanager
def listening(server: S) -> Iterator[S]:
    """A small HTTP server of a test, in a thread for the time of a block."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def landed(home: Path) -> list[dict[str, Any]]:
    """All trajectories that a server put into landing."""
    files = sorted((home / "warehouse" / "landing").glob("day=*/served-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def waited_for(home: Path, n: int, seconds: float = 30) -> list[dict[str, Any]]:
    """The same, once there are so many."""
    until = time.monotonic() + seconds
    while len(found := landed(home)) < n and time.monotonic() < until:
        time.sleep(0.1)
    return found
