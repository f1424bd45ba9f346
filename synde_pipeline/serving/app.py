"""HTTP: OpenAI's routes, and SynDE's own beside them. What a request means is in `answering`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError

from synde_pipeline.errors import SyndeError
from synde_pipeline.memory.explain import told
from synde_pipeline.memory.retrieve import Query
from synde_pipeline.serving.answering import Work, begin
from synde_pipeline.serving.api import (
    ApiError,
    ChatRequest,
    Feedback,
    RecallRequest,
    TextRequest,
    chunk,
    completion,
    models,
    text_completion,
    usage,
    usage_chunk,
)
from synde_pipeline.serving.keys import Caller, Doorkeeper
from synde_pipeline.serving.service import Service
from synde_pipeline.serving.versions import base_version, champion_version, past_versions
from synde_pipeline.serving.writing import Written

M = TypeVar("M", bound=BaseModel)
Factory = Callable[[], Awaitable[Service]]
_OPEN = {"/healthz"}
_MB = 1 << 20


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
                raise ApiError(401 if "key" in caller else 403, caller, code="invalid_api_key")
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


# -- answers ----------------------------------------------------------------------------------------------------------


async def chat_completions(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    asked = await _body(request, ChatRequest)
    return await _answered(request, asked, _chat_chunks, _whole_chat)


async def text_completions(request: Request) -> Response:
    """`POST /v1/completions`: a text, gone on with; logged as a task and one reply."""
    asked = await _body(request, TextRequest)
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
    service = _service(request)
    limits = service.settings.serving
    _check_room(request, service)
    request.app.state.n_in_work += 1
    try:
        work = await begin(service, _caller(request), asked, request.headers, is_text=is_text)
        if asked.stream:
            return StreamingResponse(
                _events(request, chunks(work), limits.timeout_s), media_type="text/event-stream", headers=work.headers
            )
        async with asyncio.timeout(limits.timeout_s):
            written = await _last(request, work)
        return JSONResponse(whole(work, written), headers=work.headers)
    except TimeoutError as error:
        raise ApiError(504, f"no answer within {limits.timeout_s:g} s; ask for fewer tokens") from error
    finally:
        if not asked.stream:
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


async def _events(request: Request, parts: AsyncIterator[dict[str, Any]], timeout_s: float) -> AsyncIterator[str]:
    """A stream of server-sent events; an error after its beginning is its last event."""
    try:
        async with asyncio.timeout(timeout_s), aclosing(parts):  # pyright: ignore[reportArgumentType]
            async for part in parts:
                yield f"data: {json.dumps(part, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body)}\n\n"
    except TimeoutError:
        yield f"data: {json.dumps(ApiError(504, f'no answer within {timeout_s:g} s').body)}\n\n"
    finally:
        request.app.state.n_in_work -= 1


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


# -- beside answers ---------------------------------------------------------------------------------------------------


async def list_models(request: Request) -> Response:
    """`GET /v1/models`: the champion, the base, and what was served before, with their lineage."""
    service = _service(request)
    if service.weights is None:
        versions = [champion_version(service.champion)]
    else:
        past = await asyncio.to_thread(past_versions, service.warehouse, service.champion)
        versions = [champion_version(service.champion), *past, base_version()]
    return JSONResponse(models([(one.name, one.lineage) for one in versions], int(time.time())))


async def recall(request: Request) -> Response:
    """`POST /recall`: the memory items for a task, best first."""
    asked, service = await _body(request, RecallRequest), _service(request)
    domain = asked.domain or _caller(request).domain or service.settings.serving.domain
    query = Query(asked.task, domain, service.today, scope=asked.scope)
    answers = await asyncio.to_thread(lambda: service.memory.current().answers([query], top_k=asked.k))
    return JSONResponse(told(query, answers[0]))


async def feedback(request: Request) -> Response:
    """`POST /feedback`: what became of the execution that a response belongs to; its trace is over."""
    said = await _body(request, Feedback)
    uid, how = await _service(request).feedback(_caller(request), said)
    return JSONResponse({"trace_uid": uid, "state": how})


async def close_trace(request: Request, name: str) -> Response:
    """`POST /traces/{id}/close`: an execution is over, and nobody says what became of it."""
    service, caller = _service(request), _caller(request)
    trace = service.traces.by_uid.get(f"{caller.source}:{name}")
    if trace is None or trace.about["owner"] != caller.name:
        raise ApiError(404, "there is no open trace of this name and key")
    await service.close_trace(trace, None)
    return JSONResponse({"trace_uid": trace.uid, "state": "closed"})


async def healthz(request: Request) -> Response:
    """`GET /healthz`: whether answers are given; without a key."""
    service = _service(request)
    status = "closing" if service.is_closing else "degraded" if service.problem else "ok"
    about = {"status": status, "champion": service.champion.hash[:16], "backend": service.backend.name}
    return JSONResponse(about, status_code=503 if status == "closing" else 200)


async def metrics(request: Request) -> Response:
    """`GET /metrics`, for Prometheus."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


_ROUTES: list[tuple[str, Callable[..., Awaitable[Response]], list[str]]] = [
    ("/v1/chat/completions", chat_completions, ["POST"]),
    ("/v1/completions", text_completions, ["POST"]),
    ("/v1/models", list_models, ["GET"]),
    ("/recall", recall, ["POST"]),
    ("/feedback", feedback, ["POST"]),
    ("/traces/{name}/close", close_trace, ["POST"]),
    ("/healthz", healthz, ["GET"]),
    ("/metrics", metrics, ["GET"]),
]


def _service(request: Request) -> Service:
    return request.app.state.service


def _caller(request: Request) -> Caller:
    return request.state.caller


async def _body(request: Request, form: type[M]) -> M:
    """A request's JSON, of a bounded size.

    Raises:
        ApiError: it is too large, or of another form.
    """
    most = int(_service(request).settings.serving.max_body_mb * _MB)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise ApiError(413, f"the body is larger than {most} bytes")
    try:
        return form.model_validate_json(bytes(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"{where or 'body'}: {first['msg']}", param=where or None) from error
