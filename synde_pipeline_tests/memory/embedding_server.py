"""A real HTTP server that embeds as OpenAI's does, and misbehaves on demand."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from synde_pipeline.memory.embed import HashingEmbedder


class Server(ThreadingHTTPServer):
    """Answers `/v1/embeddings` with hashed words cut to `dim` numbers, in any order of rows."""

    def __init__(self, dim: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dim = dim
        self.says_usage = True
        self.troubles: list[int | dict[str, Any] | str] = []
        """What comes first: a status, an answer, or raw text."""
        self.asked: list[tuple[str | None, dict[str, Any]]] = []
        """Authorisation and body of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers.get("Authorization"), body))
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if isinstance(trouble, int):
            self._send(trouble, json.dumps({"error": {"message": "the secret prompt", "code": None}}))
        elif trouble is not None:
            self._send(200, trouble if isinstance(trouble, str) else json.dumps(trouble))
        else:
            vectors = 3 * HashingEmbedder().embed(body["input"])[:, : self.server.dim] + 1e-3
            rows = [{"object": "embedding", "index": k, "embedding": row.tolist()} for k, row in enumerate(vectors)]
            answer = {"object": "list", "model": body["model"], "data": rows[::-1]}
            if self.server.says_usage:
                answer["usage"] = {"prompt_tokens": 10 * len(rows), "total_tokens": 10 * len(rows)}
            self._send(200, json.dumps(answer))

    def _send(self, status: int, text: str) -> None:
        data = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """No chatter."""


@contextmanager
def serving(dim: int = 48) -> Iterator[Server]:
    server = Server(dim)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
