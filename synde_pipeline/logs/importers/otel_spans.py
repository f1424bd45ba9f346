"""One native span of OpenTelemetry, in any encoding, as a plain span."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from synde_pipeline.logs.importers.base import parse_time
from synde_pipeline.logs.importers.parts import decoded
from synde_pipeline.records import canonical_json

NESTED = frozenset({"gen_ai", "llm", "openinference", "traceloop"})
"""Attributes that some exporters write as trees."""
_VALUES = ("stringValue", "string_value", "boolValue", "bool_value", "doubleValue", "double_value", "bytesValue")
_INTS = ("intValue", "int_value")
_LISTS = ("arrayValue", "array_value")
_MAPS = ("kvlistValue", "kvlist_value")
_ERRORS = ("ERROR", "STATUS_CODE_ERROR", "Error", 2)
_HIDDEN = "__REDACTED__"
"""What a tracer writes where it was told to hide the content."""


@dataclass(frozen=True)
class Event:
    """An event of a span, or a log record that belongs to one."""

    name: str
    attributes: dict[str, Any]
    at: datetime | None = None


@dataclass(frozen=True)
class Native:
    """One span or log record, whatever it was encoded in."""

    id: str
    parent: str
    name: str
    at: datetime | None
    until: datetime | None
    attributes: dict[str, Any]
    events: tuple[Event, ...] = ()
    failed: bool = False
    service: str = ""
    annotations: tuple[Any, ...] = ()
    """As Phoenix exports them beside the attributes."""
    is_record: bool = False
    """Whether it is a log record, which stands for an event of its span."""


def is_span(value: Any) -> bool:
    """Whether a value is a span or a log record."""
    if not isinstance(value, dict):
        return False
    if "attributes" in value:
        return bool(value.keys() & {"name", "spanId", "span_id", "context", "timeUnixNano", "eventName"})
    return "traceID" in value and "spanID" in value


def id_in(native: Any) -> str:
    """The id of a native span, or of the span that a record belongs to; empty where it has none; never raises."""
    return str(first_of(native, "spanId", "spanID", "span_id", "context.span_id") or "")


def is_record(native: Any) -> bool:
    """Whether a native value is a log record."""
    return isinstance(native, dict) and ("eventName" in native or "body" in native)


def native_of(native: Any, resource: Any) -> Native:
    """Read one native span or log record.

    Raises:
        TypeError, ValueError, AttributeError: it is none.
    """
    if not is_span(native):
        raise TypeError(f"a span is {type(native).__name__} without a span's fields")
    attributes = attributes_of(native.get("attributes", native.get("tags")))
    start = parse_time(first_of(native, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"))
    start = start or parse_time(native.get("timeUnixNano"))
    end = parse_time(first_of(native, "endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime"))
    if end is None and start is not None and isinstance(native.get("duration"), int):
        end = start + timedelta(microseconds=native["duration"])
    events = tuple(_event(one) for key in ("events", "span_events", "logs") for one in native.get(key) or ())
    if is_record(native):
        events = (_record(native, attributes, start),)
        attributes = {}
    return Native(
        id=id_in(native),
        parent=str(first_of(native, "parentSpanId", "parent_span_id", "parent_id") or _reference(native)),
        name=str(first_of(native, "name", "operationName") or ""),
        at=start,
        until=end,
        attributes=attributes,
        events=events,
        failed=_failed(native, attributes),
        service=_service_of(native.get("resource") or resource),
        annotations=tuple(native.get("annotations") or native.get("span_annotations") or ()),
        is_record=is_record(native),
    )


def attributes_of(found: Any) -> dict[str, Any]:
    """Attributes as a flat dictionary, from OTLP's list, Jaeger's tags, a dictionary or a tree; without hidden ones."""
    if isinstance(found, list):
        pairs = ((str(one["key"]), value_of(one.get("value"))) for one in found)
        return {key: value for key, value in pairs if value != _HIDDEN}
    flat: dict[str, Any] = {}
    todo = list((found or {}).items())
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict) and value and str(key).split(".", 1)[0] in NESTED:
            todo += [(f"{key}.{name}", one) for name, one in value.items()]
        elif value != _HIDDEN:
            flat[str(key)] = value
    return flat


def value_of(found: Any) -> Any:
    """A value of OTLP as plain JSON; any other stays."""
    if not isinstance(found, dict):
        return found
    for key, value in found.items():
        if key in _VALUES:
            return value
        if key in _INTS:
            return int(value)
        if key in _LISTS:
            return [value_of(one) for one in (value or {}).get("values") or ()]
        if key in _MAPS:
            return {str(one["key"]): value_of(one.get("value")) for one in (value or {}).get("values") or ()}
    return found or None


def first_of(native: Any, *keys: str) -> Any:
    """The first of some fields that is there; `a.b` is also the field `b` inside `a`."""
    if not isinstance(native, dict):
        return None
    for key in keys:
        if native.get(key) not in (None, ""):
            return native[key]
        outer, _, inner = key.partition(".")
        if inner and isinstance(native.get(outer), dict) and native[outer].get(inner):
            return native[outer][inner]
    return None


def joined(natives: Iterable[Native]) -> list[Native]:
    """Spans with the log records that belong to them as events; a record whose span is missing stands for it."""
    by_id: dict[str, list[Native]] = {}
    for number, one in enumerate(natives):
        by_id.setdefault(one.id or f"#{number}", []).append(one)
    found = []
    for same in by_id.values():
        owner = next((one for one in same if not one.is_record), same[0])
        records = sorted((event for one in same if one.is_record for event in one.events), key=_order)
        found.append(replace(owner, events=(*(() if owner.is_record else owner.events), *records)))
    return found


def tree(attributes: dict[str, Any], prefix: str) -> Any:
    """The value at a prefix, put together from flattened names (`a.0.b`) where it is not there as one."""
    if prefix in attributes:
        return decoded(attributes[prefix])
    root: dict[str, Any] = {}
    start = f"{prefix}."
    for key, value in attributes.items():
        if key.startswith(start):
            at = root
            *path, last = key.removeprefix(start).split(".")
            for part in path:
                inner = at.setdefault(part, {})
                at = inner if isinstance(inner, dict) else {}
            at[last] = value
    return _listed(root) if root else None


def _listed(value: Any) -> Any:
    """Objects whose fields are numbers are lists."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isascii() and key.isdigit() and len(key) < 10 for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {key: _listed(one) for key, one in value.items()}


def _order(event: Event) -> tuple[datetime, str]:
    return event.at or datetime.min.replace(tzinfo=UTC), canonical_json([event.name, event.attributes])


def _event(native: Any) -> Event:
    fields = attributes_of(native.get("attributes", native.get("fields")))
    name = first_of(native, "name", "event_name") or fields.get("event") or fields.get("event.name") or ""
    return Event(str(name), fields, parse_time(first_of(native, "timeUnixNano", "time_unix_nano", "timestamp", "time")))


def _record(native: dict[str, Any], attributes: dict[str, Any], at: datetime | None) -> Event:
    """A log record as an event: what it says is in its attributes or in its body."""
    body = value_of(native.get("body"))
    name = native.get("eventName") or attributes.get("event.name") or ""
    return Event(str(name), attributes | (body if isinstance(body, dict) else {}), at)


def _failed(native: dict[str, Any], attributes: dict[str, Any]) -> bool:
    status = native.get("status") or native.get("status_code")
    code = first_of(status, "code", "status_code") if isinstance(status, dict) else status
    return code in _ERRORS or attributes.get("otel.status_code") in _ERRORS or attributes.get("error") is True


def _reference(native: dict[str, Any]) -> str:
    for one in native.get("references") or ():
        if one.get("refType") == "CHILD_OF":
            return str(one.get("spanID") or "")
    return ""


def _service_of(resource: Any) -> str:
    if not isinstance(resource, dict):
        return ""
    found = attributes_of(resource.get("attributes")) if "attributes" in resource else resource
    name = str(found.get("service.name") or found.get("serviceName") or "")
    return "" if name.startswith("unknown_service") else name
