"""SynDE's own routes, and the list of models: what is asked beside answers."""

import asyncio
import time
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from synde_pipeline.memory.explain import told
from synde_pipeline.memory.retrieve import Query
from synde_pipeline.serving.api import ApiError, Feedback, RecallRequest, models
from synde_pipeline.serving.received import body_of, caller_of, service_of
from synde_pipeline.serving.versions import base_version, champion_version, past_versions


async def list_models(request: Request) -> Response:
    """`GET /v1/models`: the champion, the base, and what was served before, with their lineage."""
    return JSONResponse(await _models(request))


async def show_model(request: Request, name: str) -> Response:
    """`GET /v1/models/{id}`: one of them."""
    found = next((one for one in (await _models(request))["data"] if one["id"] == name), None)
    if found is None:
        raise ApiError(404, f"there is no model {name!r:.100}; expected one of GET /v1/models")
    return JSONResponse(found)


async def _models(request: Request) -> dict[str, Any]:
    service = service_of(request)
    if service.backend.name != "local":
        versions = [champion_version(service.champion)]
    else:
        past = await asyncio.to_thread(past_versions, service.warehouse, service.champion)
        versions = [champion_version(service.champion), *past, base_version()]
    return models([(one.name, one.lineage) for one in versions], int(time.time()))


async def recall(request: Request) -> Response:
    """`POST /recall`: the memory items for a task, best first."""
    asked, service = await body_of(request, RecallRequest), service_of(request)
    domain = asked.domain or caller_of(request).domain or service.settings.serving.domain
    query = Query(asked.task, domain, service.today, scope=asked.scope)
    answers = await asyncio.to_thread(lambda: service.memory.current().answers([query], top_k=asked.k))
    return JSONResponse(told(query, answers[0]))


async def feedback(request: Request) -> Response:
    """`POST /feedback`: what became of the execution that a response belongs to; its trace is over."""
    said = await body_of(request, Feedback)
    uid, how = await service_of(request).feedback(caller_of(request), said)
    return JSONResponse({"trace_uid": uid, "state": how})


async def close_trace(request: Request, name: str) -> Response:
    """`POST /traces/{id}/close`: an execution is over, and nobody says what became of it."""
    service, caller = service_of(request), caller_of(request)
    trace = service.traces.by_uid.get(f"{caller.source}:{name}")
    if trace is None or trace.about["owner"] != caller.name:
        raise ApiError(404, "there is no open trace of this name and key")
    await service.close_trace(trace, None)
    return JSONResponse({"trace_uid": trace.uid, "state": "closed"})


async def healthz(request: Request) -> Response:
    """`GET /healthz`: whether answers are given; without a key."""
    service = service_of(request)
    status = "closing" if service.is_closing else "degraded" if service.problem else "ok"
    about = {"status": status, "champion": service.champion.hash[:16], "backend": service.backend.name}
    return JSONResponse(about, status_code=503 if status == "closing" else 200)


async def metrics(request: Request) -> Response:
    """`GET /metrics`, for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")
