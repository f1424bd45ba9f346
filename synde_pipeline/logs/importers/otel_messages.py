"""Messages inside spans -> chat messages: parts of GenAI, OpenInference, Gemini and Bedrock, OpenAI-like calls."""

import json
from collections.abc import Iterator
from typing import Any

from synde_pipeline.logs.importers.chat import Message, arguments_of
from synde_pipeline.records import INVALID, canonical_json

_ROLES = {
    "developer": "system",
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "function": "tool",
    "tool-response": "tool",
}
_ECHOES = frozenset({"tool-call"})
"""Messages that say again what the assistant's own said."""
_HIDDEN = "__REDACTED__"
_CALLS = ("tool_call", "tool_use", "function_call", "toolUse")
_RESULTS = ("tool_call_response", "tool_result", "function_response", "function_call_output", "toolResult")
_OF_PARTS = frozenset({"type", "text", "message_content", *_CALLS, *_RESULTS})


def parsed(value: Any) -> Any:
    """A value that may be JSON in text; None where its content was hidden."""
    if isinstance(value, str) and value == _HIDDEN:
        return None
    if isinstance(value, str) and value[:1] in ("[", "{", '"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def shown(value: Any) -> str:
    """A result or an answer as text."""
    value = parsed(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    held = value.get("content") if isinstance(value, dict) else value
    if isinstance(held, list) and held and all(isinstance(part, dict) and "text" in part for part in held):
        return "".join(str(part["text"]) for part in held)
    return canonical_json(value)


def tool_name(value: Any) -> str:
    """A tool's name without spaces."""
    return "_".join(str(value or "").split()) or INVALID


def messages_of(value: Any, role: str = "user") -> list[Message]:
    """Messages given as a list of them, as JSON in text, or as bare text.

    Raises:
        TypeError, ValueError, AttributeError: it is none of these.
    """
    value = parsed(value)
    if isinstance(value, dict):
        value = value["messages"] if isinstance(value.get("messages"), list) else [value]
    if isinstance(value, str):
        return [Message(role, value)] if value else []
    return [message for raw in value or () for message in _of_one(raw, role)]


def tree(attributes: dict[str, Any], prefix: str) -> Any:
    """The value at a prefix, put together from flattened names (`a.0.b`) where it is not there as one."""
    if prefix in attributes:
        return parsed(attributes[prefix])
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


def _of_one(raw: Any, role: str) -> Iterator[Message]:
    """One message; the results of tools inside it are messages of their own, before it."""
    if isinstance(raw, str):
        raw = {"content": raw}
    raw = tree(raw, "message") if "message.role" in raw else raw
    raw = raw.get("message", raw) if isinstance(raw.get("message"), dict) else raw
    raw = raw.get("kwargs", raw) if isinstance(raw.get("kwargs"), dict) else raw
    role = str(raw.get("role") or (raw.get("type") if "content" in raw else "") or role).lower()
    role = _ROLES.get(role, role)
    if role in _ECHOES:
        return
    held: dict[str, list[Any]] = {"text": [], "thought": [], "call": [], "result": []}
    for part in _parts_of(raw):
        kind, inner = _kind_of(part)
        held[kind].append(inner)
    yield from map(_result, held["result"])
    calls = tuple(map(_call, [*held["call"], *(raw.get("tool_calls") or ())]))
    text, thought = "".join(held["text"]), "\n".join(map(str, held["thought"]))
    if text or thought or calls or (role == "tool" and not held["result"]):
        call_id = str(raw.get("tool_call_id") or raw.get("id") or "") if role == "tool" else ""
        yield Message(role, text, calls, call_id, reasoning=thought)


def _parts_of(raw: dict[str, Any]) -> list[Any]:
    """The parts of a message's content, whatever they are called; text that only looks like JSON is text."""
    if raw.get("type") in (*_CALLS, *_RESULTS):
        return [raw]
    found = next((raw[key] for key in ("parts", "contents", "content") if raw.get(key) is not None), [])
    if isinstance(found, dict):
        return found["parts"] if isinstance(found.get("parts"), list) else [found]
    listed = parsed(found) if isinstance(found, str) else found
    if isinstance(listed, list) and listed is not found:
        listed = listed if all(isinstance(part, dict) and part.keys() & _OF_PARTS for part in listed) else found
    return listed if isinstance(listed, list) else [found]


def _kind_of(part: Any) -> tuple[str, Any]:
    """What a part is, and what it holds."""
    if not isinstance(part, dict):
        return "text", str(part) if parsed(part) is not None else ""
    part = part.get("message_content", part) if isinstance(part.get("message_content"), dict) else part
    kind = str(part.get("type") or "")
    for name in _CALLS:
        if kind == name or isinstance(part.get(name), dict):
            return "call", part if kind == name else part[name]
    for name in _RESULTS:
        if kind == name or isinstance(part.get(name), dict):
            return "result", part if kind == name else part[name]
    if kind in ("reasoning", "thinking"):
        return "thought", part.get("content") or part.get("text") or part.get("thinking") or ""
    said = part.get("text", part.get("content"))
    return "text", said if isinstance(said, str) and said != _HIDDEN else shown(said)


def _call(raw: dict[str, Any]) -> tuple[str, str, str]:
    raw = raw.get("tool_call", raw) if isinstance(raw.get("tool_call"), dict) else raw
    function = raw["function"] if isinstance(raw.get("function"), dict) else raw
    arguments = next((function[key] for key in ("arguments", "args", "input") if key in function), None)
    return (
        str(raw.get("id") or raw.get("toolUseId") or raw.get("call_id") or ""),
        tool_name(function.get("name")),
        arguments_of(parsed(arguments)),
    )


def _result(raw: dict[str, Any]) -> Message:
    found = next((raw[key] for key in ("response", "result", "content", "output") if raw.get(key) is not None), None)
    inside = found if isinstance(found, dict) else raw
    failed = raw.get("is_error", inside.get("isError"))
    if raw.get("status") in ("error", "success"):
        failed = raw["status"] == "error"
    call_id = str(raw.get("id") or raw.get("tool_use_id") or raw.get("toolUseId") or raw.get("call_id") or "")
    return Message("tool", shown(found), call_id=call_id, is_error=failed if isinstance(failed, bool) else None)
