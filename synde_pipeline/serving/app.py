"""HTTP: OpenAI's routes, and SynDE's own beside them. What a request means is in `answering`."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from synde_pipeline.errors import SyndeError
from synde_pipeline.serving import beside
from synde_pipeline.serving.answering import Work, begin
from synde_pipeline.serving.api import (
    ApiError,
    ChatRequest,
    TextRequest,
    chunk,
    completion,
    text_completion,
    usage,
    usage_chunk,
)
from synde_pipeline.serving.keys import Doorkeeper
from synde_pipeline.serving.received import body_of, caller_of, service_of
from synde_pipeline.serving.service import Service
from synde_pipeline.serving.writing import Written

Factory = Callable[[], Awaitable[Service]]
_LOG = logging.getLogger("synde.serving")
_OPEN = {"/healthz"}


def create_app(make: Factory, doorkeeper: Doorkeeper) -> FastAPI:
    """The server's application.

    Args:
        make: makes the service on the application's own loop; it is started and closed here.
        doorkeeper: says who may ask.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = await make()
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(title="SynDE", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.doorkeeper = doorkeeper
    app.state.n_in_work = 0
    app.middleware("http")(_guarded)
    app.exception_handler(ApiError)(lambda _, error: _refused(error))
    app.exception_handler(HTTPException)(lambda _, error: _refused(ApiError(error.status_code, str(error.detail))))
    app.exception_handler(Exception)(_failed)
    for path, answer, methods in _ROUTES:
        app.add_api_route(path, answer, methods=methods, response_model=None)
    return app


async def _guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Who asks, and how it went; the body of an answer may come later."""
    state, path = request.app.state, request.url.path
    response: Response
    try:
        if path not in _OPEN:
            caller = state.doorkeeper.caller(request.headers)
            if isinstance(caller, str):
                raise ApiError(401, caller, code="invalid_api_key")
            request.state.caller = caller
        response = await go_on(request)
    except ApiError as error:
        response = _refused(error)
    except (SyndeError, OSError) as error:
        response = _refused(ApiError(503, str(error)))
    route = getattr(request.scope.get("route"), "path", "other")
    state.service.metrics.requested(route, response.status_code)
    return response


def _refused(error: ApiError) -> JSONResponse:
    headers = {"retry-after": "1"} if error.status in (429, 503) else None
    return JSONResponse(error.body, status_code=error.status, headers=headers)


def _failed(_: Request, error: Exception) -> JSONResponse:
    """A bug of ours: the client is told that it is one, the log what it was."""
    _LOG.error("a request failed", exc_info=error)
    return _refused(ApiError(500, f"the server failed ({type(error).__name__}); its log says more"))


# -- answers ----------------------------------------------------------------------------------------------------------


async def chat_completions(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    asked = await body_of(request, ChatRequest)
    return await _answered(request, asked, _chat_chunks, _whole_chat)


async def text_completions(request: Request) -> Response:
    """`POST /v1/completions`: a text, gone on with; logged as a task and one reply."""
    asked = await body_of(request, TextRequest)
    messages = [{"role": "user", "content": asked.prompt}]
    words = asked.model_dump(exclude={"prompt", "messages", "tools", "tool_choice"}, exclude_unset=True)
    as_chat = ChatRequest(messages=messages, **words)
    return await _answered(request, as_chat, _text_chunks, _whole_text, is_text=True)


async def _answered(
    request: Request,
    asked: ChatRequest,
    chunks: Callable[[Work], AsyncIterator[dict[str, Any]]],
    whole: Callable[[Work, Written], Any],
    *,
    is_text: bool = False,
) -> Response:
    service = service_of(request)
    limits = service.settings.serving
    _check_room(request, service)
    request.app.state.n_in_work += 1
    is_handed_on = False
    try:
        work = await begin(service, caller_of(request), asked, request.headers, is_text=is_text)
        if asked.stream:
            events = _events(request, work, chunks(work), limits.timeout_s)
            # Begun here: what was never begun would never be ended either, were the client gone by now.
            is_handed_on = True
            first = await anext(events)
            return StreamingResponse(_behind(first, events), media_type="text/event-stream", headers=work.headers)
        try:
            async with asyncio.timeout(limits.timeout_s):
                written = await _last(request, work)
        finally:
            work.end()
        return JSONResponse(whole(work, written), headers=work.headers)
    except TimeoutError as error:
        raise ApiError(504, f"no answer within {limits.timeout_s:g} s; ask for fewer tokens") from error
    finally:
        if not is_handed_on:
            request.app.state.n_in_work -= 1


def _check_room(request: Request, service: Service) -> None:
    if service.is_closing:
        raise ApiError(503, "the server is shutting down")
    most = service.settings.serving.max_waiting
    if request.app.state.n_in_work >= most:
        raise ApiError(429, f"{most} requests are in work already; come again later", code="rate_limit_exceeded")


async def _last(request: Request, work: Work) -> Written:
    """The whole answer; a client that goes away gives it up."""
    written: Written | None = None

    async def read() -> None:
        nonlocal written
        async with aclosing(work.pieces()) as pieces:  # pyright: ignore[reportArgumentType]
            async for piece in pieces:
                if isinstance(piece, Written):
                    written = piece

    reading = asyncio.create_task(read())
    try:
        while not reading.done():
            await asyncio.wait({reading}, timeout=1.0)
            if not reading.done() and await request.is_disconnected():
                raise ApiError(499, "the client went away")
        reading.result()
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.wait({reading})
    if written is None:
        raise ApiError(500, "the backend ended without an answer")
    return written


async def _events(
    request: Request, work: Work, parts: AsyncIterator[dict[str, Any]], timeout_s: float
) -> AsyncIterator[str]:
    """A stream of server-sent events; an error after its beginning is its last event."""
    until = time.monotonic() + timeout_s
    try:
        async with aclosing(parts):  # pyright: ignore[reportArgumentType]
            while True:
                part = await asyncio.wait_for(anext(parts), until - time.monotonic())
                yield f"data: {json.dumps(part, ensure_ascii=False)}\n\n"
    except StopAsyncIteration:
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body)}\n\n"
    except TimeoutError:
        yield f"data: {json.dumps(ApiError(504, f'no answer within {timeout_s:g} s').body)}\n\n"
    finally:
        work.end()
        request.app.state.n_in_work -= 1


async def _behind(first: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Events, the first of which is there."""
    async with aclosing(events):  # pyright: ignore[reportArgumentType]
        yield first
        async for event in events:
            yield event


async def _chat_chunks(work: Work) -> AsyncIterator[dict[str, Any]]:
    yield chunk(work.id, work.model, {"role": "assistant", "content": ""})
    async with aclosing(work.pieces()) as pieces:  # pyright: ignore[reportArgumentType]
        async for piece in pieces:
            if not isinstance(piece, Written):
                yield chunk(work.id, work.model, piece)
                continue
            yield chunk(work.id, work.model, {}, piece.ending)
            if work.asked.request.wants_usage:
                yield usage_chunk(work.id, work.model, usage(piece.prompt_tokens, piece.completion_tokens))


def _whole_chat(work: Work, written: Written) -> Any:
    used = usage(written.prompt_tokens, written.completion_tokens)
    return completion(work.id, work.model, written.message, written.ending, used)


async def _text_chunks(work: Work) -> AsyncIterator[dict[str, Any]]:
    async with aclosing(work.pieces()) as pieces:  # pyright: ignore[reportArgumentType]
        async for piece in pieces:
            if isinstance(piece, Written):
                used = usage(piece.prompt_tokens, piece.completion_tokens) if work.asked.request.wants_usage else None
                yield text_completion(work.id, work.model, "", piece.ending, used)
            else:
                yield text_completion(work.id, work.model, str(piece.get("content") or ""), None, None)


def _whole_text(work: Work, written: Written) -> Any:
    used = usage(written.prompt_tokens, written.completion_tokens)
    return text_completion(work.id, work.model, str(written.message["content"] or ""), written.ending, used)


_ROUTES: list[tuple[str, Callable[..., Awaitable[Response]], list[str]]] = [
    ("/v1/chat/completions", chat_completions, ["POST"]),
    ("/v1/completions", text_completions, ["POST"]),
    ("/v1/models", beside.list_models, ["GET"]),
    ("/v1/models/{name:path}", beside.show_model, ["GET"]),
    ("/recall", beside.recall, ["POST"]),
    ("/feedback", beside.feedback, ["POST"]),
    ("/traces/{name}/close", beside.close_trace, ["POST"]),
    ("/healthz", beside.healthz, ["GET"]),
    ("/metrics", beside.metrics, ["GET"]),
]
