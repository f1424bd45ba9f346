"""From settings to a running server: which backend, what it needs, and uvicorn."""

import asyncio
import ipaddress
from typing import Any

import uvicorn
from fastapi import FastAPI

from synde_pipeline.base_model import ARTEFACT, load, load_tokenizer, pin_given, pinned, pinned_folder
from synde_pipeline.errors import BaseModelError, InputError
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.serving.app import create_app
from synde_pipeline.serving.choice import Named, Versions
from synde_pipeline.serving.keys import Doorkeeper, read_keys
from synde_pipeline.serving.local import Local
from synde_pipeline.serving.remote import RemoteChampion
from synde_pipeline.serving.service import Clock, Service
from synde_pipeline.serving.upstream import Upstream
from synde_pipeline.serving.weights import Weights
from synde_pipeline.serving.writing import Backend
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse


def is_loopback(host: str) -> bool:
    """Whether a server on this host is seen by this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_door(settings: Settings, host: str) -> None:
    """Refuse to open to others without keys.

    Raises:
        InputError: the host is no loopback, and there are no keys.
    """
    if not is_loopback(host) and not read_keys(settings.home):
        raise InputError(
            f"--host {host} is seen by other machines, and there are no keys",
            expected="a key for each client",
            remedy="make one with `synde key add NAME`, or serve on 127.0.0.1",
        )


def app_of(settings: Settings, host: str = "127.0.0.1", clock: Clock | None = None) -> FastAPI:
    """The application of a warehouse.

    Raises:
        BaseModelError: the local champion shall answer, and no base is pinned.
        InputError: it would be open to others without keys.
    """
    check_door(settings, host)
    prepared = None if settings.serving.upstream_url else _local(settings)
    words: dict[str, Any] = {} if clock is None else {"clock": clock}

    async def make() -> Service:
        if prepared is None:
            return Service(settings, *await asyncio.to_thread(_upstream, settings), **words)
        local = await asyncio.to_thread(Local, prepared, settings)
        weights = Weights(Warehouse(settings.warehouse), prepared, local.engine, settings.models)
        service = Service(settings, local, weights, **words)
        service.metrics.watch("synde_running", "Answers that are being written.", lambda: local.engine.n_running)
        service.metrics.watch("synde_waiting", "Answers that wait.", lambda: local.engine.n_waiting)
        return service

    return create_app(make, Doorkeeper(settings.home, is_loopback(host)))


def server_of(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server that has not begun to listen."""
    words: dict[str, Any] = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 30}
    # Clients give idle connections up after 5 s, as uvicorn does: a request on its way then would be lost.
    return uvicorn.Server(uvicorn.Config(app, host=host, port=port, timeout_keep_alive=75, **words))


def _upstream(settings: Settings) -> tuple[Backend, Versions | None]:
    """Another server, and which adapters of ours it has."""
    if not settings.serving.upstream_adapters:
        return Upstream(settings.serving), None
    warehouse = Warehouse(settings.warehouse)
    encoder = PromptEncoder(load_tokenizer(pinned_folder(warehouse)), settings.prompt)
    named = Named(warehouse, pinned(warehouse).content_hash, settings.models)
    return RemoteChampion(settings.serving, encoder), named


def _local(settings: Settings) -> Any:
    """The base, pinned if the settings name one and nothing is pinned yet."""
    warehouse = Warehouse(settings.warehouse)
    if settings.base_model is not None:
        pin_given(warehouse, settings)
    if warehouse.header(ARTEFACT, "") is None:
        raise BaseModelError(
            "no base model is pinned, so nobody can answer",
            expected="SYNDE_BASE_MODEL, a warehouse that has trained (`synde run`), or SYNDE_UPSTREAM_URL",
            remedy="try `synde demo` first: it has an embedded one",
        )
    return load(warehouse)
