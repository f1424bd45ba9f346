"""Another OpenAI-compatible server writes the answers; memory, traces and logs are ours.

Its answers pass through as they come, tool calls and all. Its words about errors are not handed on but for the status:
they may hold its key.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx2

from synde_pipeline.prompting.parts import LEARNED, item_text
from synde_pipeline.records import MemoryItem
from synde_pipeline.serving.api import ApiError, ChatRequest
from synde_pipeline.serving.writing import Asked, Piece, Written
from synde_pipeline.settings_serve import ServingConfig

_CALL_FIELDS = ("id", "type")


class Upstream:
    """Writes with whatever answers at a URL.

    Args:
        config: where it is, its model and limits; its key is in the environment.
    """

    name = "upstream"

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        key = os.environ.get(config.upstream_key_variable)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=config.max_waiting)
        self._client = httpx2.AsyncClient(headers=headers, timeout=config.timeout_s, limits=limits)

    def check(self, request: ChatRequest) -> None:
        """Refuse what would not be logged whole."""
        if (request.n or 1) > 1:
            raise ApiError(400, "one answer a request is logged; expected n = 1", param="n")

    async def write(self, asked: Asked) -> AsyncIterator[Piece]:
        """Ask for a stream and hand it on; it is asked for also where the client wants the whole at once."""
        whole = _Whole()
        route = "completions" if asked.is_text else "chat/completions"
        async with aclosing(self.events(route, self._words(asked))) as events:
            async for event in events:
                delta = whole.take(event)
                if delta and asked.request.stream:
                    yield delta
        if whole.ending is None:
            raise ApiError(502, "the upstream's answer broke off")
        yield Written(whole.message, whole.ending, whole.prompt_tokens, whole.completion_tokens)

    async def events(self, route: str, words: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a streamed answer; ApiError where there is none."""
        url = f"{str(self._config.upstream_url).rstrip('/')}/{route}"
        try:
            async with self._client.stream("POST", url, json=dict(words)) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise ApiError(_status(response.status_code), f"the upstream answered {response.status_code}")
                async for line in response.aiter_lines():
                    if (event := _event(line)) is not None:
                        yield event
        except httpx2.TimeoutException as error:
            raise ApiError(504, f"the upstream did not answer within {self._config.timeout_s:g} s") from error
        except httpx2.HTTPError as error:
            raise ApiError(502, f"the upstream cannot be reached ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _words(self, asked: Asked) -> dict[str, Any]:
        request = asked.request
        words = request.model_dump(exclude_unset=True)
        words |= {"messages": with_memory(request.messages, asked.memory), "stream": True}
        if asked.is_text:
            words["prompt"] = words.pop("messages")[0]["content"]
        words["stream_options"] = {**(request.stream_options or {}), "include_usage": True}
        if self._config.upstream_model:
            words["model"] = self._config.upstream_model
        return words


def with_memory(messages: Sequence[Mapping[str, Any]], items: Sequence[MemoryItem]) -> list[Mapping[str, Any]]:
    """Messages with memory items in the system turn, which is made where there is none."""
    if not items:
        return list(messages)
    block = LEARNED + "".join(item_text(item) for item in items)
    first = messages[0]
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": block.strip()}, *messages]
    content = first.get("content")
    parts = [*content, {"type": "text", "text": block}] if isinstance(content, list) else f"{content or ''}{block}"
    return [{**first, "content": parts}, *messages[1:]]


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return None
    try:
        found = json.loads(line[5:])
    except ValueError as error:
        raise ApiError(502, "the upstream's answer is no JSON") from error
    if not isinstance(found, dict) or "error" in found:
        raise ApiError(502, "the upstream's answer broke off with an error")
    return found


def _status(status: int) -> int:
    """What the client is told: its own mistakes and 'later' as they are; the upstream's key is not its business."""
    return status if status in (400, 404, 408, 413, 422, 429) else 502


class _Whole:
    """An answer, put together from its deltas."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self.prompt_tokens = self.completion_tokens = 0
        self._texts: dict[str, str] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def take(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take one event in; returns its delta."""
        used = event.get("usage")
        if isinstance(used, Mapping):
            self.prompt_tokens = int(used.get("prompt_tokens") or 0)
            self.completion_tokens = int(used.get("completion_tokens") or 0)
        choices = event.get("choices") or []
        if not choices:
            return None
        choice = choices[0]
        self.ending = choice.get("finish_reason") or self.ending
        told = {"content": choice["text"]} if "text" in choice else choice.get("delta") or {}
        delta = {name: value for name, value in told.items() if name != "role"}
        for name in ("content", "reasoning_content", "refusal"):
            if isinstance(delta.get(name), str):
                self._texts[name] = self._texts.get(name, "") + delta[name]
        for number, part in enumerate(delta.get("tool_calls") or ()):
            self._call(part, int(part.get("index", number)))
        return delta or None

    def _call(self, part: Mapping[str, Any], index: int) -> None:
        held = self._calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        held.update({name: part[name] for name in _CALL_FIELDS if part.get(name)})
        said = part.get("function") or {}
        for name in ("name", "arguments"):
            held["function"][name] += said.get(name) or ""

    @property
    def message(self) -> dict[str, Any]:
        """The whole message."""
        texts = {name: text for name, text in self._texts.items() if text or name == "content"}
        calls = [self._calls[index] for index in sorted(self._calls)]
        found: dict[str, Any] = {"role": "assistant", "content": None, **texts}
        return found | ({"tool_calls": calls} if calls else {})
