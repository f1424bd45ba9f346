"""Chat messages -> steps: what OpenAI-style logs of tool-calling agents have in common.

Messages of any framework, with parts of many kinds and calls at many places, are read in `turns`.
"""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import dropwhile
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
    name: str = ""
    """For tool messages without one: the tool that this comes from."""
    is_error: bool | None = None
    """For tool messages: whether the tool failed, as the log says it."""
    at: datetime | None = None
    reasoning: str = ""
    """What the agent thought, where the log keeps it apart from what it said."""


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
    """Canonical JSON of a call's arguments, given as an object or as its text; any other text stays as it is.

    Also a number does: `10.10` is what the agent said, and `10.1` is not.
    """
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, or a bomb of brackets or digits
            return value
        if found is not None and not isinstance(found, dict | list):
            return value
        value = found
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
    role = str(raw["role"])
    if role == "tool":
        flag = raw.get("error")
        is_error = flag if isinstance(flag, bool) else text.startswith("Error")
    return Message(
        role="system" if role == "developer" else role,
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
    talk = Talk()
    for message in messages:
        talk.add(message)
    return talk.ended()


class Talk:
    """A chat in the making. Texts are joined at its end: joining them turn by turn is quadratic in a long run."""

    def __init__(self) -> None:
        self.system: list[str] = []
        self.task = ""
        self.steps: list[Step] = []
        self._results: list[list[str]] = []
        self._worked: list[bool | None] = []
        self._seen: list[str] = []  # what the agent has been shown since its last action
        self._by_id: dict[str, int] = {}
        self._open: dict[str, deque[int]] = {}  # by name; "" holds all of them

    def add(self, message: Message) -> None:
        """Any message, by its role."""
        if message.role == "system":
            self.system.append(message.text)
        elif message.role == "user" and not self.task:
            self.task = message.text
        elif message.role == "assistant" and self.task:
            self.forget_open()
            self.act(message)
        elif message.role in ("tool", "user") and self.task:
            self.see(message.text)
            self.answer(self.step_of(message), message)

    def act(self, message: Message) -> None:
        """What the agent did: one step a call, or one reply."""
        new = _steps_of(message, len(self.steps), self.unread)
        for (call_id, name, _), step in zip(message.calls, new, strict=False):
            if call_id:
                self._by_id[call_id] = step.index
            for key in ("", name):
                self._open.setdefault(key, deque()).append(step.index)
        self.steps += new
        self._results += [[] for _ in new]
        self._worked += [None for _ in new]
        self._seen = []

    def see(self, text: str) -> None:
        """What the agent sees before its next action."""
        self._seen.append(text)

    @property
    def unread(self) -> str:
        """What the agent has been shown since its last action."""
        return "\n".join(self._seen)

    def forget_open(self) -> None:
        """Calls that nothing answered get no answer any more, unless one names their id."""
        self._open = {}

    def call_of(self, message: Message) -> int | None:
        """The call that a tool's message answers: by its id, else the first open one, of its name where it has one."""
        if message.call_id in self._by_id:
            return self._by_id[message.call_id]
        waiting = self._open.get(message.name, deque())
        while waiting and self.is_answered(waiting[0]):
            waiting.popleft()
        return waiting[0] if waiting else None

    def step_of(self, message: Message) -> int | None:
        """The step that a message answers: its call, else the last step."""
        call = self.call_of(message) if message.role == "tool" else None
        return call if call is not None else len(self.steps) - 1 if self.steps else None

    def is_answered(self, step: int) -> bool:
        """Whether anything came back of a step."""
        return bool(self._results[step])

    def answer(self, step: int | None, message: Message) -> None:
        """Put what came back to its step; only a tool's answer says whether the action worked."""
        if step is not None:
            self._results[step].append(message.text)
            self.judge(step, message.is_error)

    def judge(self, step: int, is_error: bool | None) -> None:
        """Say whether a step worked, where the log does."""
        if is_error is not None:
            self._worked[step] = not is_error

    def ended(self) -> Conversation:
        """The whole chat.

        Raises:
            ValueError: nobody gave the agent a task.
        """
        if not self.task:
            raise ValueError("no user turn: the agent was never given a task")
        steps = tuple(
            step.model_copy(update={"result": "\n".join(dropwhile(_is_empty, texts)), "success": worked})
            for step, texts, worked in zip(self.steps, self._results, self._worked, strict=True)
        )
        return Conversation("\n".join(part for part in self.system if part), self.task, steps)


def _is_empty(text: str) -> bool:
    return not text


def _steps_of(message: Message, first: int, state: str) -> list[Step]:
    if not message.calls:
        return [
            Step(
                index=first,
                timestamp=message.at,
                state=state,
                reasoning=message.reasoning,
                tool=REPLY,
                arguments=message.text,
            )
        ]
    thought = "\n".join(part for part in (message.reasoning, message.text) if part)
    return [
        Step(
            index=first + k,
            timestamp=message.at,
            # Calls of one message are chosen at once: the later ones saw nothing of the earlier ones' results.
            state=state if k == 0 else "",
            reasoning=thought if k == 0 else "",
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
