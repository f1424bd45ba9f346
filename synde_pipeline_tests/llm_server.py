"""A real HTTP server that speaks the OpenAI chat protocol, answers from the request, and misbehaves on command.

What it is told to do next is a list of moves; when it is used up, it answers properly: by its `model`, a function from
the request's body to a text.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Model = Callable[[dict[str, Any]], str]
Move = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Server(ThreadingHTTPServer):
    """What it was asked, and what it will do."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, model: Model) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.moves: list[Move] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.add(self.headers.get("Authorization", ""))
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
            move = self.server.moves.pop(0) if self.server.moves else None
        try:
            (move or answers())(self, body)
        finally:
            with self.server.lock:
                self.server.in_flight -= 1

    def log_message(self, *_: object) -> None:
        pass


def _send(handler: BaseHTTPRequestHandler, status: int, data: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def completion(text: str, finish: str = "stop", usage: tuple[int, int] | None = (100, 20), **message: Any) -> bytes:
    said = {"role": "assistant", "content": text, **message}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "small",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return json.dumps(body).encode()


# -- moves -------------------------------------------------------------------------------------------------------------


def answers(text: str | None = None, **values: Any) -> Move:
    """A proper completion: this text, or the model's."""

    def move(handler: Any, body: dict[str, Any]) -> None:
        _send(handler, 200, completion(handler.server.model(body) if text is None else text, **values))

    return move


def refuses(status: int, error: dict[str, Any] | None = None, **headers: str) -> Move:
    def move(handler: Any, _: dict[str, Any]) -> None:
        _send(handler, status, json.dumps({"error": error or {"message": "no"}}).encode(), **headers)

    return move


def says(data: bytes, status: int = 200) -> Move:
    """Bytes that are no completion."""
    return lambda handler, _: _send(handler, status, data)


def sleeps(seconds: float, then: Move | None = None) -> Move:
    def move(handler: Any, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        (then or answers())(handler, body)

    return move


def dribbles(pause: float, n: int = 1000) -> Move:
    """A byte at a time, so that no single read is slow."""

    def move(handler: Any, body: dict[str, Any]) -> None:
        data = completion(handler.server.model(body))
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data[:n]:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(pause)

    return move


def resets() -> Move:
    """Closes the connection without a word."""

    def move(handler: Any, _: dict[str, Any]) -> None:
        handler.close_connection = True
        handler.connection.close()

    return move


def truncates(*, is_chunked: bool = False) -> Move:
    """Half of a body, then nothing."""

    def move(handler: Any, body: dict[str, Any]) -> None:
        data = completion(handler.server.model(body))
        half = data[: len(data) // 2]
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        if is_chunked:
            handler.send_header("Transfer-Encoding", "chunked")
            half = f"{len(half):x}\r\n".encode() + half + b"\r\n"
        else:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(half)
        handler.wfile.flush()
        handler.close_connection = True

    return move


def floods(n_bytes: int) -> Move:
    """An enormous answer."""

    def move(handler: Any, _: dict[str, Any]) -> None:
        _send(handler, 200, completion("x" * n_bytes))

    return move


@contextmanager
def serving(model: Model = lambda _: "{}") -> Iterator[Server]:
    """A server for as long as the block runs."""
    with Server(model) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
