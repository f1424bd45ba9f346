"""Values of any agent framework -> chat messages, wherever in them the messages and the calls stand.

Read are the shapes of OpenAI (chat and responses), Anthropic, Gemini, LangChain (plain and serialised),
OpenTelemetry's parts, and JSON inside JSON texts. Nothing here knows what a log file looks like.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from synde_pipeline.logs.importers.base import parse_time
from synde_pipeline.logs.importers.chat import Message
from synde_pipeline.logs.importers.parts import (
    CALLS,
    RESULTS,
    THOUGHTS,
    call_of,
    content_of,
    decoded,
    has_failed,
    kind_of,
    pick,
    text_in,
    tool_name,
)

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
    "tool-response": "tool",
    "tool-call": "echo",  # says again what the assistant's own turn said
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
_SPOKEN = re.compile(r"^(system|developer|user|human|assistant|ai|tool|function): ?", re.MULTILINE | re.IGNORECASE)


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
        return text_in(value)
    return next((found for key in _WORDS if value.get(key) and (found := plain_text(value[key]))), "")


def answer_of(value: Any, name: str = "") -> Message:
    """What a tool gave back: the message that wraps it, else the whole value as text."""
    found = decoded(value)
    if isinstance(found, str) or (isinstance(found, dict) and isinstance(found.get("content"), list)):
        value = found  # a text in quotes, or parts: any other JSON stays as the tool wrote it
    turns = turns_of(value) if isinstance(found, dict | list) else []
    if turns and all(turn.role == "tool" for turn in turns):
        failed = True if any(turn.is_error for turn in turns) else turns[0].is_error
        return Message("tool", "\n".join(turn.text for turn in turns), name=name, is_error=failed)
    if isinstance(value, dict) and len(value) == 1 and (only := next(iter(value))) in ("output", "result", "content"):
        return answer_of(value[only], name)
    text = text_in(value)
    return Message("tool", text, name=name, is_error=has_failed(value if isinstance(value, dict) else {}, text))


def _of_list(values: list[Any]) -> list[Message]:
    if len(values) == 2 and all(isinstance(one, str) for one in values) and values[0] in ROLES:
        return [Message(ROLES[values[0]], values[1])]  # LangChain's pairs of a role and a text
    turns: list[Message] = []
    loose: list[Any] = []  # calls, results and thoughts that stand beside messages belong to one turn of the agent
    for value in values:
        kind = kind_of(value)
        if kind in RESULTS or (loose and kind not in CALLS | THOUGHTS):
            turns += _of_loose(loose)
            loose = []
        if kind in CALLS | THOUGHTS:
            loose.append(value)
        elif kind in RESULTS:
            turns += _of_loose([value])
        elif isinstance(value, dict | list):
            turns += turns_of(value)
    return turns + _of_loose(loose)


def _of_loose(parts: list[Any]) -> list[Message]:
    content = content_of(parts)
    said = Message("assistant", "", tuple(content.calls), reasoning="\n".join(content.thoughts))
    return [*content.results, *([said] if said.calls or said.reasoning else [])]


def _of_object(value: dict[str, Any]) -> list[Message]:
    if message := _wrapped(value):
        return list(_messages_of(*message))
    if kind_of(value) in CALLS | RESULTS | THOUGHTS:
        return _of_loose([value])
    for key in _HOLDERS:
        held = value.get(key)
        if key in _ALTERNATIVES:
            while isinstance(held, list) and held:
                held = held[0]
        if held and (found := turns_of(held)):
            system = next((text for name in _SYSTEMS if (text := text_in(value.get(name)))), "")
            return [Message("system", system), *found] if system else found
    return []


def _wrapped(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """A message's role and its fields; None where the value is no message."""
    inner = value.get("kwargs")
    if isinstance(inner, dict) and ("lc" in value or str(inner.get("type")) in ROLES):
        name = str((value.get("id") or [""])[-1]).lower()
        role = name.removesuffix("chunk").removesuffix("message")
        return (ROLES.get(role) or ROLES.get(str(pick(inner, "role", "type")), "user"), inner)
    role = value.get("role")
    if role is None and value.get("type") in ROLES and ("content" in value or "data" in value):
        inner = value["data"] if isinstance(value.get("data"), dict) else value
        return ROLES[value["type"]], inner
    if not isinstance(role, str) or not value.keys() & {"content", "parts", "tool_calls", "function_call"}:
        return None
    # Some exporters write the name of the tool where its role belongs.
    return (ROLES[role.lower()], value) if role.lower() in ROLES else ("tool", {"name": role, **value})


def _messages_of(role: str, raw: dict[str, Any]) -> Iterator[Message]:
    if role == "echo":
        return
    parts = raw["content"] if raw.get("content") is not None else raw.get("parts")
    if role == "tool" and isinstance(parts, dict) and "function" in parts:
        return  # a tool's description, not what it said
    content = content_of(parts if isinstance(parts, list) else [parts])
    yield from content.results
    text = "".join(content.text)
    if role == "tool":
        if not content.results:
            call_id = str(pick(raw, "tool_call_id", "call_id", "id") or "")
            yield Message(
                role, text, (), call_id, _own_name(raw), has_failed(raw, text), parse_time(raw.get("timestamp"))
            )
        return
    calls = content.calls or [call_of(call) for call in _calls_in(raw)]
    thoughts = content.thoughts or [text_in(pick(raw, "reasoning_content", "reasoning", "thinking"))]
    if text or calls or not content.results:
        own = role == "assistant"
        reasoning = "\n".join(thoughts) if own else ""
        yield Message(role, text, tuple(calls) if own else (), at=parse_time(raw.get("timestamp")), reasoning=reasoning)


def _own_name(raw: dict[str, Any]) -> str:
    name = pick(raw, "name", "tool_name")
    return tool_name(name) if name else ""


def _calls_in(raw: dict[str, Any]) -> Iterable[Any]:
    extra = raw.get("additional_kwargs")
    for holder in (raw, extra if isinstance(extra, dict) else {}):
        if calls := holder.get("tool_calls"):
            return calls
        if call := holder.get("function_call"):
            return [call]
    return []


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
