"""Chat messages -> steps: what OpenAI-style logs of tool-calling agents have in common."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from synde_pipeline.logs.importers.base import parse_time
from synde_pipeline.records import REPLY, Step, canonical_json


@dataclass(frozen=True)
class Message:
    """One message, with the differences between the native formats already removed."""

    role: str
    text: str
    calls: tuple[tuple[str, str, str], ...] = ()
    """Tool calls as (call id, tool name, canonical JSON arguments)."""
    call_id: str = ""
    """For tool messages: the call that this answers."""
    is_error: bool | None = None
    """For tool messages: whether the tool failed, as the log says it."""
    at: datetime | None = None


@dataclass(frozen=True)
class Conversation:
    """System prompt, task and steps of one chat."""

    system: str
    task: str
    steps: tuple[Step, ...]


def text_of(content: Any) -> str:
    """Text of a message's content: a string, null, or a list of parts.

    Raises:
        TypeError: the content is none of these.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    raise TypeError(f"message content is {type(content).__name__}, expected text, null or a list of parts")


def arguments_of(value: Any) -> str:
    """Canonical JSON of a call's arguments, given as an object or as JSON text; text that is no JSON stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, or a bomb of brackets or digits
            return value
    return canonical_json(value if value is not None else {})


def message_of(raw: Any) -> Message:
    """Read one message in OpenAI's shape or tau2-bench's (flat calls, call id in `id`, `error` flag).

    Raises:
        TypeError, KeyError, ValueError: it is neither.
    """
    if not isinstance(raw, dict):
        raise TypeError(f"message is {type(raw).__name__}, expected an object")
    calls = []
    for call in raw.get("tool_calls") or ():
        function = call.get("function", call)
        calls.append((str(call.get("id", "")), str(function["name"]), arguments_of(function.get("arguments"))))
    text = text_of(raw.get("content"))
    is_error = None
    if raw["role"] == "tool":
        flag = raw.get("error")
        is_error = flag if isinstance(flag, bool) else text.startswith("Error")
    return Message(
        role=str(raw["role"]),
        text=text,
        calls=tuple(calls),
        call_id=str(raw.get("tool_call_id") or raw.get("id") or ""),
        is_error=is_error,
        at=parse_time(raw.get("timestamp")),
    )


def conversation_of(messages: Iterable[Message]) -> Conversation:
    """Split a chat into task and steps: one step per tool call, one per reply.

    The task is the first user turn, which is all that the agent was told; what an assistant says before it is
    the harness's greeting and is skipped.

    Raises:
        ValueError: there is no user turn.
    """
    system, task = "", ""
    steps: list[Step] = []
    seen: list[str] = []  # what the agent has been shown since its last action
    call_steps: dict[str, int] = {}
    for message in messages:
        if message.role == "system":
            system = "\n".join(part for part in (system, message.text) if part)
        elif message.role == "user" and not task:
            task = message.text
        elif message.role == "assistant" and task:
            new = _steps_of(message, len(steps), "\n".join(seen))
            call_steps |= {call[0]: step.index for call, step in zip(message.calls, new, strict=False)}
            steps += new
            seen = []
        elif message.role in ("tool", "user") and task:
            seen.append(message.text)
            if steps:
                at = call_steps.get(message.call_id, len(steps) - 1) if message.role == "tool" else len(steps) - 1
                steps[at] = _answered(steps[at], message)
    if not task:
        raise ValueError("no user turn: the agent was never given a task")
    return Conversation(system, task, tuple(steps))


def _answered(step: Step, message: Message) -> Step:
    """The step with one more thing that came back; only a tool's answer says whether the action worked."""
    result = f"{step.result}\n{message.text}" if step.result else message.text
    ok = step.success if message.is_error is None else not message.is_error
    return step.model_copy(update={"result": result, "success": ok})


def _steps_of(message: Message, first: int, state: str) -> list[Step]:
    if not message.calls:
        return [Step(index=first, timestamp=message.at, state=state, tool=REPLY, arguments=message.text)]
    return [
        Step(
            index=first + k,
            timestamp=message.at,
            # Calls of one message are chosen at once: the later ones saw nothing of the earlier ones' results.
            state=state if k == 0 else "",
            reasoning=message.text if k == 0 else "",
            tool=name,
            arguments=arguments,
        )
        for k, (_, name, arguments) in enumerate(message.calls)
    ]


def without_user_side(messages: Iterable[Message], user_calls: set[str]) -> list[Message]:
    """Drop the simulated user's own tool calls and their results: the agent never saw them."""
    return [
        replace(message, calls=()) if message.role == "user" else message
        for message in messages
        if not (message.role == "tool" and message.call_id in user_calls)
    ]
