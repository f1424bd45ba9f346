"""OpenAI's shapes: requests as they come in, answers, chunks and errors as they go out."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ApiError(Exception):
    """An error that a client is told, in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def body(self) -> dict[str, Any]:
        """What goes over the wire."""
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Request(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer."""
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in found if text]

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool((self.stream_options or {}).get("include_usage"))


class ChatRequest(_Request):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def tool_names(self) -> tuple[str, ...]:
        """Tools that the agent may call."""
        if self.tool_choice == "none":
            return ()
        named = [tool.get("function", tool) for tool in self.tools or ()]
        return tuple(str(tool["name"]) for tool in named if isinstance(tool, dict) and tool.get("name"))


class TextRequest(_Request):
    """`POST /v1/completions`."""

    prompt: str


class Feedback(BaseModel):
    """`POST /feedback`."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    """Of a response."""
    outcome: Literal["success", "failure", "partial"] | None = None
    score: float | None = Field(default=None, allow_inf_nan=False)
    """Kept as the reward; without an outcome, success from `threshold` on."""
    threshold: float = 0.5
    by: Literal["user", "human", "verifier", "judge"] = "user"


class RecallRequest(BaseModel):
    """`POST /recall`."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1)
    domain: str | None = None
    scope: str = ""
    k: int | None = Field(default=None, ge=0, le=100)


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(response: str, model: str, message: Mapping[str, Any], ending: str, used: Mapping[str, int]) -> Any:
    """A whole chat completion."""
    choice = {"index": 0, "message": dict(message), "finish_reason": ending, "logprobs": None}
    return _head(response, model, "chat.completion") | {"choices": [choice], "usage": dict(used)}


def chunk(response: str, model: str, delta: Mapping[str, Any], ending: str | None = None) -> dict[str, Any]:
    """A part of a streamed chat completion."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": ending, "logprobs": None}
    return _head(response, model, "chat.completion.chunk") | {"choices": [choice]}


def usage_chunk(response: str, model: str, used: Mapping[str, int]) -> dict[str, Any]:
    """The last part of a stream whose client wants token counts."""
    return _head(response, model, "chat.completion.chunk") | {"choices": [], "usage": dict(used)}


def text_completion(response: str, model: str, text: str, ending: str | None, used: Mapping[str, int] | None) -> Any:
    """A text completion, whole or a part of one."""
    choice = {"index": 0, "text": text, "finish_reason": ending, "logprobs": None}
    found = _head(response, model, "text_completion") | {"choices": [choice]}
    return found | ({"usage": dict(used)} if used else {})


def _head(response: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": response, "object": kind, "created": int(time.time()), "model": model}


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    """A tool call of a message."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def models(rows: Sequence[tuple[str, Mapping[str, Any]]], created: int) -> dict[str, Any]:
    """`GET /v1/models`: names with their lineage; `parent` stands beside, where servers of LoRA models have it."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "synde", "parent": lineage["parent"]}
        | {"lineage": dict(lineage)}
        for name, lineage in rows
    ]
    return {"object": "list", "data": data}
