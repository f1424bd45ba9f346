"""The champion on another server: vLLM, or whatever serves the pinned base with our adapters by name.

A task that has an adapter is asked through `/completions` with the tokens of its prompt, so what the adapter reads is
what it was trained on, to the token. All others go to the upstream as any client's would.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.serving.api import ApiError
from synde_pipeline.serving.upstream import Upstream
from synde_pipeline.serving.writing import Asked, Deltas, Piece, Reader, Written
from synde_pipeline.settings_serve import ServingConfig


def served_name(name: str) -> str:
    """What an adapter is called there: the folder that `synde export` writes it to."""
    return name.replace("/", "-")


class RemoteChampion(Upstream):
    """Writes with our adapters where a task has one.

    Args:
        config: of the upstream.
        encoder: of the pinned base's tokenizer.
    """

    def __init__(self, config: ServingConfig, encoder: PromptEncoder) -> None:
        super().__init__(config)
        self._encoder = encoder
        self._most = config.max_tokens

    async def write(self, asked: Asked) -> AsyncIterator[Piece]:
        """Write one answer."""
        with_adapter = bool(asked.picked and asked.picked.name) and not asked.is_text
        pieces = self._by_tokens(asked) if with_adapter else super().write(asked)
        async with aclosing(pieces) as found:  # pyright: ignore[reportArgumentType]
            async for piece in found:
                yield piece

    async def _by_tokens(self, asked: Asked) -> AsyncIterator[Piece]:
        chat, encoder = asked.chat, self._encoder
        window = await asyncio.to_thread(
            encoder.before_action, asked.domain, chat.task, asked.memory, chat.steps, chat.unread
        )
        deltas, reader, text, ending, used = Deltas(), Reader(encoder, asked), "", None, {}
        async with aclosing(self.events("completions", self._prompt(asked, window.ids))) as events:
            async for event in events:
                used = event.get("usage") or used
                for choice in event.get("choices") or ():
                    text, ending = text + (choice.get("text") or ""), choice.get("finish_reason") or ending
                told = reader.so_far(self._said(text))
                if told and asked.request.stream and (delta := deltas.grown(told.tool, told.text)):
                    yield delta
        if ending is None:
            raise ApiError(502, "the upstream's answer broke off")
        told = reader.whole(self._said(text))
        if asked.request.stream and (delta := deltas.grown(told.tool, told.text, is_whole=True)):
            yield delta
        ending = "stop" if told.is_cut else "tool_calls" if told.tool and ending == "stop" else ending
        n_said = int(used.get("completion_tokens") or 0)
        message = deltas.message(told.tool, told.text, told.reasoning)
        yield Written(message, ending, len(window.ids), n_said, window.n_context_tokens)

    def _prompt(self, asked: Asked, ids: list[int]) -> dict[str, Any]:
        request, stop = asked.request, self._encoder.stop
        assert asked.picked is not None  # noqa: S101 - asked in `write`
        words: dict[str, Any] = {
            "model": served_name(asked.picked.name),
            "prompt": ids,
            "max_tokens": min(request.limit or self._most, self._most),
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Of vLLM: our marks are read here, and the end of a turn ends the answer.
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
        }
        words |= {"stop_token_ids": stop} if len(stop) == 1 else {"stop": [self._encoder.decode(stop)]}
        return words | {
            name: getattr(request, name) for name in ("top_p", "seed") if getattr(request, name) is not None
        }

    def _said(self, text: str) -> list[int]:
        """Tokens of what came so far, without the end of the turn."""
        said, stop = self._encoder.written(text), self._encoder.stop
        return said[: -len(stop)] if stop and said[-len(stop) :] == stop else said
