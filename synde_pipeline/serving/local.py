"""The local champion: prompts as training laid them out, answers by the continuous batch, read back as calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from typing import Any

from synde_pipeline.base_model import Base, one_thread
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.serving.api import ApiError, ChatRequest
from synde_pipeline.serving.engine import Engine
from synde_pipeline.serving.generation import Generation, Sampling
from synde_pipeline.serving.writing import Asked, Deltas, Piece, Reader, Written
from synde_pipeline.settings import Settings
from synde_pipeline.training.machine import device_of

_SMALL = 100_000_000
"""Parameters below which a second thread only spins."""


class Local:
    """Writes with the pinned base and its adapters.

    Args:
        base: loaded.
        settings: window, limits, device.
    """

    name = "local"

    def __init__(self, base: Base, settings: Settings) -> None:
        self.base = base
        self._threads = ExitStack()
        if base.model.num_parameters() < _SMALL:
            self._threads.enter_context(one_thread())
        base.model.to(device_of(settings.machine))
        self.encoder = PromptEncoder(base.tokenizer, settings.prompt)
        config = settings.serving
        self._most = config.max_tokens
        self._longest = _longest(base.model)
        pad = base.tokenizer.pad_token_id
        self.engine = Engine(
            base.model,
            0 if pad is None else pad,
            most_rows=config.max_running,
            most_kept_tokens=config.kept_tokens,
        )

    def check(self, request: ChatRequest) -> None:
        """Refuse what only other servers can do."""
        if (request.n or 1) > 1:
            raise ApiError(400, "the local champion gives one answer a request; expected n = 1", param="n")
        if request.logprobs:
            raise ApiError(400, "the local champion gives no logprobs", param="logprobs")
        if request.tool_choice not in (None, "auto", "none"):
            raise ApiError(400, "the local champion decides for itself; expected auto or none", param="tool_choice")
        if (request.response_format or {"type": "text"}).get("type") != "text":
            raise ApiError(400, "the local champion cannot be held to a format", param="response_format")

    async def write(self, asked: Asked) -> AsyncIterator[Piece]:
        """Write one answer."""
        ids, n_context = await asyncio.to_thread(self._prompt, asked)
        deltas, said, ending, reader = Deltas(), list[int](), "stop", Reader(self.encoder, asked)
        async with aclosing(self._tokens(ids, asked)) as tokens:
            async for found in tokens:
                if isinstance(found, str):
                    ending = found
                    break
                said += found
                told = reader.so_far(said)
                if told and asked.request.stream and (delta := deltas.grown(told.tool, told.text)):
                    yield delta
                if told and told.is_cut:
                    break
        told = reader.whole(said)
        if asked.request.stream and (delta := deltas.grown(told.tool, told.text, is_whole=True)):
            yield delta
        ending = "stop" if told.is_cut else "tool_calls" if told.tool and ending == "stop" else ending
        message = deltas.message(told.tool, told.text, told.reasoning)
        yield Written(message, ending, len(ids), len(said), n_context)

    async def close(self) -> None:
        """Give up what is running."""
        await asyncio.to_thread(self.engine.close)
        self._threads.close()

    def _prompt(self, asked: Asked) -> tuple[list[int], int]:
        """Tokens of the prompt, and how many of them are memory."""
        chat = asked.chat
        if asked.is_text:
            return self.encoder.text(chat.task)[-self._longest + 1 :], 0
        window = self.encoder.before_action(asked.domain, chat.task, asked.memory, chat.steps, chat.unread)
        return window.ids, window.n_context_tokens

    # -- tokens -------------------------------------------------------------------------------------------------

    async def _tokens(self, ids: list[int], asked: Asked) -> AsyncGenerator[list[int] | str, None]:
        """Tokens as they come, several where they came faster than they were taken; at the end, why it ended."""
        request, loop = asked.request, asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()

        def put(value: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(queue.put_nowait, value)

        eos = self.base.tokenizer.eos_token_id
        stops = (tuple(self.encoder.stop), *([(eos,)] if eos is not None else []))
        sampling = Sampling(
            max_tokens=max(1, min(request.limit or self._most, self._most, self._longest - len(ids))),
            stops=stops,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=request.top_p or 1.0,
            seed=request.seed,
        )
        slot = asked.picked.slot if asked.picked else None
        generation = Generation(ids, sampling, put, put, slot)
        self.engine.submit(generation)
        try:
            while True:
                batch = [await queue.get()]
                while not queue.empty():
                    batch.append(queue.get_nowait())
                if tokens := [one for one in batch if isinstance(one, int)]:
                    yield tokens
                if isinstance(batch[-1], BaseException):
                    raise ApiError(500, f"the model failed ({type(batch[-1]).__name__})") from batch[-1]
                if batch[-1] == "cancelled":
                    raise ApiError(503, "the server is shutting down")
                if isinstance(batch[-1], str):
                    yield batch[-1]
                    return
        finally:
            generation.is_cancelled = True


def _longest(model: Any) -> int:
    """Tokens that a model reads and writes together."""
    config = model.config
    known = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
    return next((length for length in known if length), 1 << 20)
