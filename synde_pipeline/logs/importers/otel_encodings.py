"""Encodings of OpenTelemetry: OTLP, Tempo, Jaeger and flat lists as SDKs print them -> native spans, trace by trace.

One native span is read in `otel_spans`.
"""

from collections.abc import Iterator
from typing import Any

from synde_pipeline.logs.importers.otel_spans import NESTED, first_of, is_span

_GENAI = ("gen_ai.", "llm.", "openinference.", "gcp.vertex.agent.", "traceloop.")
_RESOURCES = ("resourceSpans", "resource_spans", "batches", "resourceLogs", "resource_logs")
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "scopeLogs", "scope_logs")
_HELD = ("spans", "logRecords", "log_records")
_WRAPPERS = ("data", "traces", "trace", "result", "spans")


def traces_of(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the traces: the native spans of each with the resource that they came from, in order of appearance.

    A span without a trace is a trace of its own.
    """
    traces: dict[str, dict[str, Any]] = {}
    for number, (native, resource) in enumerate(natives_of(document)):
        trace = str(first_of(native, "traceId", "traceID", "trace_id", "context.trace_id") or "")
        row = traces.setdefault(trace or f"#{number}", {"trace_id": trace, "spans": []})
        row["spans"].append({"span": native, "resource": resource})
    yield from traces.values()


def natives_of(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (native span or log record, native resource); what is neither comes as it is."""
    todo: list[tuple[Any, Any]] = [(document, None)]
    while todo:
        at, resource = todo.pop()
        if isinstance(at, list):
            todo += [(one, resource) for one in reversed(at)]
        elif not isinstance(at, dict) or is_span(at):
            yield at, resource
        elif lists := [at[key] for key in _RESOURCES if key in at]:
            todo += [(_inside(one), _resource_of(one)) for some in reversed(lists) for one in reversed(_list(some))]
        elif isinstance(at.get("processes"), dict) and "spans" in at:
            spans = [(span, at["processes"].get(_process_of(span))) for span in _list(at["spans"])]
            todo += reversed(spans)
        elif wrapped := [at[key] for key in _WRAPPERS if isinstance(at.get(key), dict | list)]:
            todo += [(one, resource) for one in reversed(wrapped)]
        else:
            yield at, resource


def is_genai(native: Any) -> bool:
    """Whether a native span has attributes of a language model or an agent; never raises."""
    return any(key.startswith(_GENAI) or key in NESTED for key in _keys_of(native))


def is_evaluation(native: Any) -> bool:
    """Whether a native record is nothing but the judgement of another span; never raises."""
    keys = _keys_of(native)
    return (
        "gen_ai.evaluation.name" in keys
        and "gen_ai.operation.name" not in keys
        and ("eventName" in native or "event.name" in keys)
    )


def _keys_of(native: Any) -> list[str]:
    if not isinstance(native, dict):
        return []
    found = native.get("attributes", native.get("tags"))
    keys = list(found) if isinstance(found, dict) else [one.get("key") for one in _list(found) if isinstance(one, dict)]
    return [key for key in keys if isinstance(key, str)]


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _inside(group: Any) -> Any:
    """What a resource's group holds: spans and records, and whatever is where they should be."""
    if not isinstance(group, dict):
        return group
    held: list[Any] = []
    for scope in _list(next((group[key] for key in _SCOPES if key in group), [])):
        inside = next((scope[key] for key in _HELD if key in scope), []) if isinstance(scope, dict) else scope
        held += _list(inside)
    return held


def _resource_of(group: Any) -> Any:
    return group.get("resource") if isinstance(group, dict) else None


def _process_of(span: Any) -> str:
    process = span.get("processID") if isinstance(span, dict) else None
    return process if isinstance(process, str) else ""
