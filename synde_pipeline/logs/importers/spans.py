"""A trace's spans -> one run: calls of a model say what the agent did, spans of tools say what came back.

What a model was shown repeats the whole history at each call; only what follows its own last answer is new.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from synde_pipeline.logs.importers.base import parse_time
from synde_pipeline.logs.importers.chat import Conversation, Message, Talk, arguments_of
from synde_pipeline.logs.importers.parts import decoded, tool_name
from synde_pipeline.logs.importers.react import acted
from synde_pipeline.logs.importers.turns import answer_of, plain_text, turns_of
from synde_pipeline.records import REPLY, canonical_json

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_PREFIX = re.compile(r"^(?:running tool:?|execute_tool|tool:)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """One span, whatever the tracer."""

    id: str
    parent: str
    kind: Literal["model", "tool", "other"]
    name: str = ""
    asked: Any = None
    """Its input."""
    answered: Any = None
    """Its output."""
    at: datetime | None = None
    ok: bool | None = None
    """For tools: whether the call worked, as the log says it."""


def conversation_of_spans(spans: Sequence[Span], asked: Any = None) -> Conversation:
    """Task and steps of a trace.

    Args:
        spans: in the order of their starts.
        asked: what the trace as a whole was asked; used where no model's input names speakers.

    Raises:
        ValueError: nowhere is there a task.
        TypeError, KeyError: a message is none of the shapes that are read.
    """
    run = _Run(asked)
    for calls in _grouped(spans):
        if calls[0].kind == "model":
            run.called(calls)
        else:
            run.used(calls[0])
    return run.ended()


def _grouped(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Spans that are one call: two instrumentations may both record a model's call, one inside the other."""
    inner: dict[str, list[Span]] = {}
    above = _models_above(spans)
    for span in spans:
        if span.kind == "model" and above[span.id]:
            inner.setdefault(above[span.id], []).append(span)
    told: set[int] = set()
    for span in spans:
        if span.kind != "model":
            yield [span]
        elif id(span) not in told:
            chain = [span]
            while len(next_ones := inner.get(chain[-1].id, [])) == 1 and id(next_ones[0]) not in told:
                chain.append(next_ones[0])
                told.add(id(next_ones[0]))
            if len(next_ones) < 2:  # else it holds several calls, and they speak for themselves
                yield chain


def _models_above(spans: Sequence[Span]) -> dict[str, str]:
    """For each span the id of the nearest model's call that it lies in; empty where there is none."""
    by_id = {span.id: span for span in spans}
    found: dict[str, str] = {}
    for span in spans:
        way: list[Span] = []
        at: Span | None = span
        while at is not None and at.id not in found:
            found[at.id] = ""  # a circle of parents ends here
            way.append(at)
            at = by_id.get(at.parent)
        for one in reversed(way):
            parent = by_id.get(one.parent)
            found[one.id] = "" if parent is None else parent.id if parent.kind == "model" else found[parent.id]
    return found


class _Run:
    """What is known of a run so far."""

    def __init__(self, asked: Any) -> None:
        self.asked = asked
        self.talk = Talk()
        self.is_first = True
        self.unseen: list[str] = []  # results of tools since the model was last called

    def called(self, spans: list[Span]) -> None:
        """A model's call."""
        heard = _heard(spans)
        said = [replace(acted(message), at=spans[0].at) for message in _said(spans)]
        if self.is_first:
            self._begin(heard, spans)
        else:
            self._go_on([acted(message) for message in heard])
        for message in said:
            if message.role == "system":
                self.talk.system += [] if self.talk.system else [message.text]
            else:
                self.talk.act(message)

    def used(self, span: Span) -> None:
        """A tool's call, or a span that may be one by its name."""
        answer = answer_of(span.answered, tool_name(_PREFIX.sub("", span.name)))
        if span.ok is not None and not answer.is_error:
            answer = replace(answer, is_error=not span.ok)
        step = self.talk.call_of(answer)
        if step is None:
            if span.kind != "tool":
                return
            self._see_results()
            given = decoded(span.asked)
            given = given["input"] if isinstance(given, dict) and given.keys() == {"input"} else given
            self.talk.act(Message("assistant", "", (("", answer.name, arguments_of(given)),), at=span.at))
            step = len(self.talk.steps) - 1
        self.talk.answer(step, answer)
        self.unseen.append(answer.text)

    def ended(self) -> Conversation:
        """The whole run."""
        if not self.talk.task:
            self.talk.task = _task_in(self.asked)
        return self.talk.ended()

    def _begin(self, heard: list[Message], spans: list[Span]) -> None:
        self.is_first = False
        self.talk.system = [message.text for message in heard if message.role == "system"]
        at = max((k for k, message in enumerate(heard) if message.role == "user" and message.text), default=None)
        if at is None:
            told = next((text for span in spans if (text := plain_text(span.asked))), "")
            self.talk.task = _task_in(self.asked, told)
        else:
            self.talk.task = heard[at].text
            for message in heard[:at] + heard[at + 1 :]:
                if message.role != "system":
                    self.talk.see(_told(message))
        self._see_results()

    def _go_on(self, heard: list[Message]) -> None:
        if not heard:
            self._see_results()
            return
        self.unseen = []
        last = max((k for k, message in enumerate(heard) if message.role == "assistant"), default=None)
        for message in heard if last is None else heard[last + 1 :]:
            if message.role == "tool":
                self._hear_result(message)
            elif message.role == "user" and message.text != self.talk.task:
                self.talk.see(message.text)
                step = len(self.talk.steps) - 1
                if last is not None and step >= 0 and self.talk.steps[step].tool == REPLY:
                    self.talk.answer(step, message)

    def _hear_result(self, message: Message) -> None:
        """A result that the model is shown; the tool's own span may have told it already."""
        self.talk.see(message.text)
        step = self.talk.call_of(message)
        if step is not None and self.talk.is_answered(step):
            self.talk.judge(step, message.is_error)
        elif step is not None:
            self.talk.answer(step, message)

    def _see_results(self) -> None:
        for text in self.unseen:
            self.talk.see(text)
        self.unseen = []


def _heard(spans: Iterable[Span]) -> list[Message]:
    """What a model was shown: of several recordings of a call the first that names a user."""
    found = [turns for span in spans if (turns := turns_of(span.asked))]
    return next((turns for turns in found if any(turn.role == "user" for turn in turns)), found[0] if found else [])


def _said(spans: Sequence[Span]) -> list[Message]:
    """What a model answered: of several recordings of a call the first with tool calls, else with words."""
    found = [_answer(turns) for span in spans if (turns := turns_of(span.answered))]
    for turns in sorted(found, key=lambda turns: not any(turn.calls for turn in turns)):
        if any(turn.calls or turn.text for turn in turns if turn.role == "assistant"):
            return [turn for turn in turns if turn.calls or turn.text]
    text = next((text for span in spans if (text := _plain_answer(span.answered))), "")
    return [Message("assistant", text)] if text else []


def _answer(turns: list[Message]) -> list[Message]:
    """The model's own last words, and its instructions where they stand beside them."""
    last = max((k for k, turn in enumerate(turns) if turn.role not in ("assistant", "system")), default=-1)
    return turns[last + 1 :]


def _plain_answer(value: Any) -> str:
    value = decoded(value)
    if isinstance(value, dict) and value and len(value) > 1 and "generations" not in value:
        return canonical_json(value)  # an answer in a form that the user asked for
    return plain_text(value)


def _task_in(asked: Any, told: str = "") -> str:
    turns = turns_of(asked)
    user = next((turn.text for turn in reversed(turns) if turn.role == "user" and turn.text), "")
    value = decoded(asked)
    return user or plain_text(value) or told or (canonical_json(value) if value else "")


def _told(message: Message) -> str:
    said = [message.text, *(f"{name} {arguments}" for _, name, arguments in message.calls)]
    return f"{message.role}: " + "\n".join(part for part in said if part)


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Spans by their starts; those without a time first, as they came."""
    return sorted(spans, key=lambda span: span.at or _LONG_AGO)


def times_of(starts: Iterable[Any], ends: Iterable[Any]) -> tuple[datetime | None, datetime | None]:
    """When a trace began and ended: the earliest start and the latest end that are logged."""
    began = [at for value in starts if (at := parse_time(value))]
    ended = [at for value in ends if (at := parse_time(value))]
    return min(began, default=None), max(ended, default=None)
