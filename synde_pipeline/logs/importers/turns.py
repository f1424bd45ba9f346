"""Values of any agent framework -> chat messages, wherever in them the messages and the calls stand.

Read are the shapes of OpenAI (chat and responses), Anthropic, Gemini, LangChain (plain and serialised),
OpenTelemetry's parts, and JSON inside JSON texts. Nothing here knows what a log file looks like.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from synde_pipeline.logs.importers.base import parse_time
from synde_pipeline.logs.importers.chat import Message, arguments_of
from synde_pipeline.records import INVALID, canonical_json

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_HOLDERS = (
    *("messages", "contents", "choices", "candidates", "generations", "message", "content"),
    *("output", "input", "inputs", "outputs", "response", "data"),
)
"""Fields that messages lie under, the first that holds any."""
_ALTERNATIVES = {"choices", "candidates", "generations"}
"""Of several answers to one question, the first is what the agent went on with."""
_SYSTEMS = ("system", "instructions", "systemInstruction", "system_instruction")
_WORDS = (
    *("input", "question", "query", "prompt", "task", "text", "content", "message", "user_input", "contents"),
    *("output", "answer", "result", "response", "args", "prompts", "generations", "choices"),
)
"""Fields that a plain text lies under, the first that holds any."""
_CALLS = {"tool_use", "tool_call", "function_call"}
_RESULTS = {"tool_result", "tool_call_response", "function_call_output", "function_response", "function_result"}
_THOUGHTS = {"thinking", "reasoning"}
_GEMINI = ("functionCall", "function_call", "functionResponse", "function_response")
_BESIDES = {"text", "content", "refusal", "thought", "thought_signature", "thoughtSignature"}
_MEDIA = {"image", "input_image", "image_url", "audio", "input_audio", "file", "input_file", "blob", "uri", "media"}
_SPOKEN = re.compile(r"^(system|developer|user|human|assistant|ai|tool|function): ?", re.MULTILINE | re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])([A-Z])")


@dataclass
class _Content:
    """What the parts of one message's content are."""

    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def turns_of(value: Any) -> list[Message]:
    """All messages in a value, in order; none where it holds no message, as in a plain text.

    Raises:
        TypeError, ValueError: a message is none of the shapes that are read.
    """
    if isinstance(value, str):
        inner = decoded(value)
        return _spoken(value) if inner is value else turns_of(inner)
    if isinstance(value, list):
        return _of_list(value)
    return _of_object(value) if isinstance(value, dict) else []


def plain_text(value: Any) -> str:
    """The text in a value that holds no messages: itself, or what lies under a field that usually holds it."""
    value = decoded(value)
    if isinstance(value, list):
        return plain_text(value[0]) if value else ""
    if not isinstance(value, dict):
        return _text_of(value)
    return next((found for key in _WORDS if value.get(key) and (found := plain_text(value[key]))), "")


def answer_of(value: Any, name: str = "") -> Message:
    """What a tool gave back: the message that wraps it, else the whole value as text."""
    turns = turns_of(value) if isinstance(decoded(value), dict | list) else []
    if turns and all(turn.role == "tool" for turn in turns):
        failed = True if any(turn.is_error for turn in turns) else turns[0].is_error
        return Message("tool", "\n".join(turn.text for turn in turns), name=name, is_error=failed)
    if isinstance(value, dict) and len(value) == 1 and (only := next(iter(value))) in ("output", "result", "content"):
        return answer_of(value[only], name)
    text = _text_of(value)
    return Message("tool", text, name=name, is_error=True if text.startswith("Error") else None)


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


def _of_list(values: list[Any]) -> list[Message]:
    turns: list[Message] = []
    loose: list[Any] = []  # calls, results and thoughts that stand beside messages belong to one turn of the agent
    for value in values:
        kind = _kind(value)
        if kind in _RESULTS or (loose and kind not in _CALLS | _THOUGHTS):
            turns += _of_loose(loose)
            loose = []
        if kind in _CALLS | _THOUGHTS:
            loose.append(value)
        elif kind in _RESULTS:
            turns += _of_loose([value])
        elif isinstance(value, dict | list):
            turns += turns_of(value)
    return turns + _of_loose(loose)


def _of_loose(parts: list[Any]) -> list[Message]:
    content = _content_of(parts)
    said = Message("assistant", "", tuple(content.calls), reasoning="\n".join(content.thoughts))
    return [*content.results, *([said] if said.calls or said.reasoning else [])]


def _of_object(value: dict[str, Any]) -> list[Message]:
    if message := _wrapped(value):
        return list(_messages_of(*message))
    if _kind(value) in _CALLS | _RESULTS | _THOUGHTS:
        return _of_loose([value])
    for key in _HOLDERS:
        held = value.get(key)
        if key in _ALTERNATIVES:
            while isinstance(held, list) and held:
                held = held[0]
        if held and (found := turns_of(held)):
            system = next((text for name in _SYSTEMS if (text := _text_of(value.get(name)))), "")
            return [Message("system", system), *found] if system else found
    return []


def _wrapped(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """A message's role and its fields; None where the value is no message."""
    if "lc" in value and isinstance(value.get("kwargs"), dict):
        name = str((value.get("id") or [""])[-1]).lower()
        role = name.removesuffix("chunk").removesuffix("message")
        return (ROLES.get(role) or ROLES.get(str(value["kwargs"].get("role")), "user"), value["kwargs"])
    role = value.get("role")
    if role is None and value.get("type") in ROLES and ("content" in value or "data" in value):
        inner = value["data"] if isinstance(value.get("data"), dict) else value
        return ROLES[value["type"]], inner
    if not isinstance(role, str) or not value.keys() & {"content", "parts", "tool_calls", "function_call"}:
        return None
    # Some exporters write the name of the tool where its role belongs.
    return (ROLES[role.lower()], value) if role.lower() in ROLES else ("tool", {"name": role, **value})


def _messages_of(role: str, raw: dict[str, Any]) -> Iterator[Message]:
    parts = raw["content"] if raw.get("content") is not None else raw.get("parts")
    if role == "tool" and isinstance(parts, dict) and "function" in parts:
        return  # a tool's description, not what it said
    content = _content_of(parts if isinstance(parts, list) else [parts])
    yield from content.results
    text = "".join(content.text)
    if role == "tool":
        if not content.results:
            call_id = str(_pick(raw, "tool_call_id", "call_id", "id") or "")
            yield Message(role, text, (), call_id, _own_name(raw), _failed(raw, text), parse_time(raw.get("timestamp")))
        return
    calls = content.calls or [_call_of(call) for call in _calls_in(raw)]
    thoughts = content.thoughts or [_text_of(_pick(raw, "reasoning_content", "reasoning", "thinking"))]
    if text or calls or not content.results:
        message = Message(role, text, at=parse_time(raw.get("timestamp")))
        own = role == "assistant"
        yield replace(message, calls=tuple(calls), reasoning="\n".join(thoughts)) if own else message


def _own_name(raw: dict[str, Any]) -> str:
    name = _pick(raw, "name", "tool_name")
    return tool_name(name) if name else ""


def _calls_in(raw: dict[str, Any]) -> Iterable[Any]:
    extra = raw.get("additional_kwargs")
    for holder in (raw, extra if isinstance(extra, dict) else {}):
        if calls := holder.get("tool_calls"):
            return calls
        if call := holder.get("function_call"):
            return [call]
    return []


def _content_of(parts: Iterable[Any]) -> _Content:
    content = _Content()
    for part in parts:
        kind = _kind(part)
        if kind in _CALLS:
            content.calls.append(_call_of(part))
        elif kind in _RESULTS:
            content.results.append(_result_of(part))
        elif kind in _THOUGHTS:
            content.thoughts.append(_text_of(_pick(part, "thinking", "text", "content", "summary")))
        else:
            content.text.append(_text_of(part))
    return content


def _kind(part: Any) -> str:
    """What a part of a content is, in one spelling; empty where it does not say."""
    if not isinstance(part, dict) or "role" in part:
        return ""
    if isinstance(part.get("type"), str):
        return _snake(part["type"])
    if part.get("thought") is True:
        return "thinking"
    return next((_snake(key) for key in _GEMINI if isinstance(part.get(key), dict)), "")


def _snake(text: str) -> str:
    return _CAMEL.sub(r"_\1", text).replace("-", "_").lower()


def _inner(part: dict[str, Any], *names: str) -> dict[str, Any]:
    """The part itself, or the object under one of the names."""
    return next((part[name] for name in names if isinstance(part.get(name), dict)), part)


def _call_of(call: Any) -> tuple[str, str, str]:
    """A call as (id, tool, canonical JSON arguments), however it is written."""
    if not isinstance(call, dict):
        raise TypeError(f"tool call is {type(call).__name__}, expected an object")
    inner = _inner(call, "function", *_GEMINI)
    name = _pick(inner, "name", "toolName", "tool_name")
    if not name:
        raise KeyError("name")
    call_id = _pick(call, "call_id", "id", "toolCallId", "tool_call_id") or _pick(inner, "id")
    return str(call_id or ""), tool_name(name), arguments_of(_pick(inner, "arguments", "args", "input", "parameters"))


def _result_of(part: dict[str, Any]) -> Message:
    inner = _inner(part, *_GEMINI)
    text = _text_of(_pick(inner, "content", "result", "response", "output"))
    call_id = _pick(inner, "tool_use_id", "call_id", "toolCallId", "tool_call_id", "id")
    name = _pick(inner, "name", "toolName")
    return Message("tool", text, (), str(call_id or ""), tool_name(name) if name else "", _failed(inner, text))


def _failed(raw: dict[str, Any], text: str) -> bool | None:
    """Whether a tool failed, as its answer says; None where it does not."""
    for flag in (raw.get("is_error"), raw.get("error")):
        if isinstance(flag, bool):
            return flag
    known = {"error": True, "success": False}
    if raw.get("status") in known:
        return known[raw["status"]]
    return True if text.startswith("Error") else None


def _text_of(value: Any) -> str:
    """Text of a part: a string, the text under its usual names, or the JSON of anything else; none of a picture."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "".join(_text_of(one) for one in value)
    if not isinstance(value, dict):
        return canonical_json(value)
    typed = isinstance(value.get("type"), str)
    text = next((value[key] for key in ("text", "content", "refusal") if isinstance(value.get(key), str)), None)
    if text is not None and (typed or all(one is None for key, one in value.items() if key not in _BESIDES)):
        return text
    return "" if typed and value["type"] in _MEDIA else canonical_json(value)


def _pick(raw: dict[str, Any], *names: str) -> Any:
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def _spoken(text: str) -> list[Message]:
    """The turns of a text that names the speaker before each one."""
    starts = list(_SPOKEN.finditer(text))
    if not starts or starts[0].start() != 0:
        return []
    ends = [start.start() for start in starts[1:]] + [len(text)]
    said = [text[start.end() : end].strip() for start, end in zip(starts, ends, strict=True)]
    # An assistant's turn that only called a tool is written as None.
    return [
        Message(ROLES[start[1].lower()], "" if one == "None" else one) for start, one in zip(starts, said, strict=True)
    ]
