"""What a backend is asked to write, and what comes back: pieces of an answer, then the whole message."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from synde_pipeline.prompting import PromptEncoder, Said
from synde_pipeline.records import REPLY, MemoryItem
from synde_pipeline.serving.api import ChatRequest, call
from synde_pipeline.serving.chats import Chat
from synde_pipeline.serving.choice import Picked


@dataclass(frozen=True)
class Asked:
    """One answer that is wanted."""

    request: ChatRequest
    messages: Sequence[Mapping[str, Any]]
    """Of the conversation: those that the client sent, its earlier answers as they were given."""
    chat: Chat
    domain: str
    memory: tuple[MemoryItem, ...]
    """Items to show."""
    picked: Picked | None
    """The adapter to write with; None writes with the base."""
    is_text: bool = False
    """Whether the task's text is gone on with, as it is."""


@dataclass
class Written:
    """The end of an answer."""

    message: dict[str, Any]
    """In OpenAI's shape."""
    ending: str
    """Its finish reason."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    context_tokens: int = 0
    """Of the memory in the prompt; 0 where that is not known."""


Piece = Mapping[str, Any] | Written
"""A delta of a message in OpenAI's shape; the last piece is the whole."""


class Backend(Protocol):
    """Whoever writes answers."""

    name: str

    def check(self, request: ChatRequest) -> None:
        """Refuse what it cannot do; ApiError."""
        ...

    def write(self, asked: Asked) -> AsyncIterator[Piece]:
        """Write one answer; closing the iterator gives it up."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


@dataclass
class Deltas:
    """Turns the text of an answer as it grows into deltas of a message."""

    tool: str = ""
    """That is called; empty for a reply, or while nobody knows."""
    sent: str = ""
    call_id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    def grown(self, tool: str, text: str, *, is_whole: bool = False) -> dict[str, Any] | None:
        """What is new of a reply (no tool), or of a call's arguments; None where nothing is.

        A character whose bytes are not all there yet waits, until the text is whole.
        """
        text = text if is_whole else text.rstrip("\ufffd")
        new = text[len(self.sent) :] if text.startswith(self.sent) else ""
        is_first = bool(tool) and not self.tool
        if not new and not is_first:
            return None
        self.tool, self.sent = tool, self.sent + new
        if not tool:
            return {"content": new}
        head = {"id": self.call_id, "type": "function"} if is_first else {}
        function = {"name": tool, "arguments": new} if is_first else {"arguments": new}
        return {"tool_calls": [{"index": 0, **head, "function": function}]}

    def message(self, tool: str, text: str, reasoning: str = "") -> dict[str, Any]:
        """The whole message."""
        found: dict[str, Any] = {"role": "assistant", "content": None if tool else text}
        if reasoning:
            found["reasoning_content"] = reasoning
        return found | ({"tool_calls": [call(self.call_id, tool, text)]} if tool else {})


class Told(NamedTuple):
    """What tokens say to a client."""

    tool: str
    """That is called; empty for a reply."""
    text: str
    """The reply, or the call's arguments."""
    is_cut: bool
    """Whether a stop of the client's ends it."""
    reasoning: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads what a model of ours writes."""

    encoder: PromptEncoder
    asked: Asked

    def so_far(self, said: Sequence[int]) -> Told | None:
        """What a part says; None while it cannot be told what it will be."""
        if self.asked.is_text:
            return self._text(said)
        reading = self.encoder.read(said, self.asked.request.tool_names, is_whole=False)
        return self._action(reading) if reading else None

    def whole(self, said: Sequence[int]) -> Told:
        """What all of it says: a call, or a reply where it names no tool that may be called."""
        if self.asked.is_text:
            return self._text(said)
        reading = self.encoder.read(said, self.asked.request.tool_names)
        return self._action(reading) if reading else self._text(said)

    def _text(self, said: Sequence[int]) -> Told:
        text = self.encoder.decode(said)
        return Told("", *until(text if self.asked.is_text else text.strip(), self.asked.request.stops))

    def _action(self, reading: Said) -> Told:
        if reading.tool in self.asked.request.tool_names:
            return Told(reading.tool, reading.arguments, is_cut=False, reasoning=reading.reasoning)
        text = reading.arguments if reading.tool == REPLY else f"{reading.tool} {reading.arguments}".strip()
        return Told("", *until(text, self.asked.request.stops), reasoning=reading.reasoning)


def until(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A text up to the first of the stops, and whether there was one."""
    at = min((found for stop in stops if (found := text.find(stop)) >= 0), default=-1)
    return (text, False) if at < 0 else (text[:at], True)
