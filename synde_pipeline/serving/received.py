"""What a request brings: the server's state, who asks, and its JSON within a size."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from synde_pipeline.serving.api import ApiError
from synde_pipeline.serving.keys import Caller
from synde_pipeline.serving.service import Service

M = TypeVar("M", bound=BaseModel)
_MB = 1 << 20


def service_of(request: Request) -> Service:
    """The server's state."""
    return request.app.state.service


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return request.state.caller


async def body_of(request: Request, form: type[M]) -> M:
    """A request's JSON, of a bounded size.

    Raises:
        ApiError: it is too large, or of another form.
    """
    most = int(service_of(request).settings.serving.max_body_mb * _MB)
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
