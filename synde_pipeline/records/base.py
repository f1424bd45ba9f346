"""What all records share: frozen values, UTC times, one canonical JSON and its hash."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that equal values share (sorted keys, no spaces, UTF-8 as is)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def content_hash(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def _as_utc(value: Any) -> Any:
    """Read a naive time as UTC: agent logs rarely name a zone, and a day must not depend on the reader's."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"time {value} has no UTC equivalent") from error
    return value


UtcTime = Annotated[datetime, BeforeValidator(_as_utc)]


class Record(BaseModel):
    """A frozen record: no unknown fields, no silent coercion, equal by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
