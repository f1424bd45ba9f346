"""Parts of one message's content -> its texts, thoughts, calls and results, however a framework writes them."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from synde_pipeline.logs.importers.chat import Message, arguments_of
from synde_pipeline.records import INVALID, canonical_json

CALLS = {"tool_use", "tool_call", "function_call"}
RESULTS = {"tool_result", "tool_call_response", "function_call_output", "function_response", "function_result"}
THOUGHTS = {"thinking", "reasoning"}
_NAMED = ("functionCall", "function_call", "functionResponse", "function_response", "toolUse", "toolResult")
"""Fields by which Gemini's and Bedrock's parts say what they are."""
_TEXTS = {"text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal"}
_BESIDES = {"text", "content", "refusal", "thought", "thought_signature", "thoughtSignature"}
_MEDIA = {"image", "input_image", "image_url", "audio", "input_audio", "file", "input_file", "blob", "uri", "media"}
_CAMEL = re.compile(r"(?<=[a-z])([A-Z])")


@dataclass
class Content:
    """What the parts of one message's content are."""

    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def content_of(parts: Iterable[Any]) -> Content:
    """Sort a content's parts.

    Raises:
        TypeError, KeyError: a call names no tool.
    """
    content = Content()
    for part in parts:
        kind = kind_of(part)
        if kind in CALLS:
            content.calls.append(call_of(part))
        elif kind in RESULTS:
            content.results.append(_result_of(part))
        elif kind in THOUGHTS:
            content.thoughts.append(text_in(pick(part, "thinking", "text", "content", "summary")))
        else:
            content.text.append(text_in(part))
    return content


def kind_of(part: Any) -> str:
    """What a part of a content is, in one spelling; empty where it does not say."""
    if not isinstance(part, dict) or "role" in part:
        return ""
    if isinstance(part.get("type"), str):
        return _snake(part["type"])
    if part.get("thought") is True:
        return "thinking"
    return next((_snake(key) for key in _NAMED if isinstance(part.get(key), dict)), "")


@lru_cache(maxsize=256)  # asked of every part of every message, and there are few kinds
def _snake(text: str) -> str:
    return _CAMEL.sub(r"_\1", text).replace("-", "_").lower()


def _inner(part: dict[str, Any], *names: str) -> dict[str, Any]:
    """The part itself, or the object under one of the names."""
    return next((part[name] for name in names if isinstance(part.get(name), dict)), part)


def call_of(call: Any) -> tuple[str, str, str]:
    """A call as (id, tool, canonical JSON arguments), however it is written.

    Raises:
        TypeError, KeyError: it names no tool.
    """
    if not isinstance(call, dict):
        raise TypeError(f"tool call is {type(call).__name__}, expected an object")
    inner = _inner(call, "function", *_NAMED)
    name = pick(inner, "name", "toolName", "tool_name")
    if not name:
        raise KeyError("name")
    call_id = pick(call, "call_id", "id", "toolCallId", "tool_call_id") or pick(inner, "id", "toolUseId")
    return str(call_id or ""), tool_name(name), arguments_of(pick(inner, "arguments", "args", "input", "parameters"))


def _result_of(part: dict[str, Any]) -> Message:
    inner = _inner(part, *_NAMED)
    held = pick(inner, "content", "result", "response", "output")
    text = text_in(held)
    call_id = pick(inner, "tool_use_id", "call_id", "toolUseId", "toolCallId", "tool_call_id", "id")
    name = pick(inner, "name", "toolName")
    failed = has_failed((held if isinstance(held, dict) else {}) | inner, text)
    return Message("tool", text, (), str(call_id or ""), tool_name(name) if name else "", failed)


def has_failed(raw: dict[str, Any], text: str) -> bool | None:
    """Whether a tool failed, as its answer says; None where it does not."""
    for flag in (raw.get("is_error"), raw.get("isError"), raw.get("error")):
        if isinstance(flag, bool):
            return flag
    known = {"error": True, "success": False}
    if raw.get("status") in known:
        return known[raw["status"]]
    return True if text.startswith("Error") else None


def text_in(value: Any) -> str:
    """Text of a part: a string, the text under its usual names, or the JSON of anything else; none of a picture."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "".join(text_in(one) for one in value)
    if not isinstance(value, dict):
        return canonical_json(value)
    held = value.get("content")
    if (
        isinstance(held, list)
        and held
        and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in held)
    ):
        return text_in(held)  # as MCP's tools and Bedrock's answer
    kind = value["type"] if isinstance(value.get("type"), str) else ""
    text = next((value[key] for key in ("text", "content", "refusal") if isinstance(value.get(key), str)), None)
    if text is not None and (kind in _TEXTS or all(one is None for key, one in value.items() if key not in _BESIDES)):
        return text
    return "" if kind in _MEDIA else canonical_json(value)


def pick(raw: dict[str, Any], *names: str) -> Any:
    """The first of the fields that holds anything."""
    for name in names:
        if (value := raw.get(name)) is not None:
            return value
    return None


def decoded(value: Any) -> Any:
    """JSON inside a text; the value itself where it is none."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def tool_name(name: Any) -> str:
    """A tool's name as a record may hold it: no spaces."""
    return "_".join(str(name).split()) if name else INVALID
