"""One native span of OpenTelemetry, in any encoding, as a plain span."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

NESTED = frozenset({"gen_ai", "llm", "openinference", "traceloop"})
"""Attributes that some exporters write as trees."""
_VALUES = ("stringValue", "string_value", "boolValue", "bool_value", "doubleValue", "double_value", "bytesValue")
_INTS = ("intValue", "int_value")
_LISTS = ("arrayValue", "array_value")
_MAPS = ("kvlistValue", "kvlist_value")
_ERRORS = ("ERROR", "STATUS_CODE_ERROR", "Error", 2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """An event of a span, or a log record that belongs to one."""

    name: str
    attributes: dict[str, Any]
    at: int | None = None
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class Span:
    """One span, whatever it was encoded in."""

    id: str
    parent: str
    name: str
    start: int | None
    end: int | None
    """Nanoseconds since 1970; None where the log has none."""
    attributes: dict[str, Any]
    events: tuple[Event, ...] = ()
    failed: bool = False
    service: str = ""
    annotations: tuple[Any, ...] = ()
    """As Phoenix exports them beside the attributes."""


def is_span(value: dict[str, Any]) -> bool:
    """Whether an object is a span or a log record."""
    if "attributes" in value:
        return bool(value.keys() & {"name", "spanId", "span_id", "context", "timeUnixNano", "eventName"})
    return "traceID" in value and "spanID" in value


def span_of(native: Any, resource: Any) -> Span:
    """Read one native span.

    Raises:
        TypeError, ValueError, AttributeError: it is none.
    """
    if not isinstance(native, dict) or not is_span(native):
        raise TypeError(f"a span is {type(native).__name__} without a span's fields")
    attributes = attributes_of(native.get("attributes", native.get("tags")))
    start = time_of(first_of(native, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"))
    start = start if start is not None else time_of(native.get("timeUnixNano"))
    end = time_of(first_of(native, "endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime"))
    if end is None and start is not None and isinstance(native.get("duration"), int):
        end = start + native["duration"] * 1000
    events = tuple(_event(one) for key in ("events", "span_events", "logs") for one in native.get(key) or ())
    if "eventName" in native or "body" in native:  # a log record stands for the event of its span
        events = (_record(native, attributes, start),)
        attributes = {}
    return Span(
        id=str(first_of(native, "spanId", "spanID", "span_id", "context.span_id") or ""),
        parent=str(first_of(native, "parentSpanId", "parent_span_id", "parent_id") or _reference(native)),
        name=str(first_of(native, "name", "operationName") or ""),
        start=start,
        end=end,
        attributes=attributes,
        events=events,
        failed=_failed(native, attributes),
        service=_service_of(native.get("resource") or resource),
        annotations=tuple(native.get("annotations") or native.get("span_annotations") or ()),
    )


def attributes_of(found: Any) -> dict[str, Any]:
    """Attributes as a flat dictionary, from OTLP's list, Jaeger's tags, a dictionary or a tree."""
    if isinstance(found, list):
        return {str(one["key"]): value_of(one.get("value")) for one in found}
    flat: dict[str, Any] = {}
    todo = list((found or {}).items())
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict) and value and str(key).split(".", 1)[0] in NESTED:
            todo += [(f"{key}.{name}", one) for name, one in value.items()]
        else:
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


def time_of(found: Any) -> int | None:
    """A time as nanoseconds since 1970, its unit told by its size; 0 and nothing are None.

    Raises:
        ValueError: it is no time.
    """
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 25:
        found = int(found)
    if isinstance(found, str) and found:
        at = datetime.fromisoformat(found)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return (at - _EPOCH) // timedelta(microseconds=1) * 1000
    if found in (None, "", 0):
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"time is {found!r}, expected an ISO 8601 text or a number since 1970")
    for per_second in (1, 10**3, 10**6, 10**9):
        if abs(found) < 10**11 * per_second:
            return int(found * (10**9 // per_second))
    raise ValueError(f"time is {found!r}, expected a number since 1970")


def moment(nanoseconds: int | None) -> datetime | None:
    """A time as a record has it."""
    return None if nanoseconds is None else _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def joined(spans: list[Span]) -> list[Span]:
    """Spans with the log records that belong to them as events; a record whose span is missing stands for it."""
    owners: dict[str, Span] = {}
    events: dict[str, list[Event]] = {}
    alone: list[Span] = []
    for span in spans:
        if not span.id:
            alone.append(span)
        elif span.id not in owners or not (owners[span.id].name or owners[span.id].attributes):
            owners[span.id] = span
        if span.id:
            events.setdefault(span.id, []).extend(span.events)
    return [*(replace(span, events=tuple(events[key])) for key, span in owners.items()), *alone]


def _event(native: Any) -> Event:
    fields = attributes_of(native.get("attributes", native.get("fields")))
    name = first_of(native, "name", "event_name") or fields.get("event") or fields.get("event.name") or ""
    return Event(str(name), fields, time_of(first_of(native, "timeUnixNano", "time_unix_nano", "timestamp", "time")))


def _record(native: dict[str, Any], attributes: dict[str, Any], at: int | None) -> Event:
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
