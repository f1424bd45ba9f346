"""A trace's spans -> one run: calls of a model say what the agent did, spans of tools say what came back.

What a model was shown repeats the whole history at each call; only what follows its own last known answer is new.
"""

import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synde_pipeline.logs.importers.chat import Conversation, Message, Talk, arguments_of
from synde_pipeline.logs.importers.parts import decoded, tool_name
from synde_pipeline.logs.importers.react import acted
from synde_pipeline.logs.importers.spans import Span, moments_of
from synde_pipeline.logs.importers.turns import answer_of, plain_text, turns_of
from synde_pipeline.records import REPLY, canonical_json

_PREFIX = re.compile(r"^(?:running tool:?|execute_tool|tool:)\s+", re.IGNORECASE)
_HEAD = 80
"""Characters by which an agent's words are known again: frameworks add to their ends."""


def conversation_of_spans(
    spans: Sequence[Span], asked: Any = None, answered: Any = None, *, untold: str = ""
) -> Conversation:
    """Task and steps of a trace.

    Args:
        spans: in an order that decides where their times do not.
        asked: what the trace as a whole was asked; used where no model's input names speakers.
        answered: what it gave back; used where no call of a model was recorded with its content.
        untold: the task where nowhere is one.

    Raises:
        ValueError: there is no task.
        TypeError, KeyError: a message is none of the shapes that are read.
    """
    run = _Run(asked)
    for moment in moments_of(spans):
        if moment.calls[0].kind != "model":
            (run.returns if moment.is_end else run.uses)(moment.number, moment.calls[0])
        elif moment.is_end:
            run.answers(moment.number)
        else:
            run.hears(moment.number, moment.calls)
    return run.ended(answered, untold)


class _Run:
    """What is known of a run so far."""

    def __init__(self, asked: Any) -> None:
        self.asked = asked
        self.talk = Talk()
        self.is_first = True
        self.known: Counter[tuple[str, ...]] = Counter()  # what the agent did, as its history repeats it
        self.unseen: list[str] = []  # results of tools since a model was last called
        self.shown: dict[int, list[str]] = {}  # to models that have not answered yet
        self.saying: dict[int, list[Message]] = {}  # what these will answer
        self.claims: dict[int, int] = {}  # span of a tool -> the step that it is
        self.taken: set[int] = set()
        self.open: dict[tuple[str, ...], deque[int]] = {}  # steps by what a tool's span may find them by

    def hears(self, number: int, spans: list[Span]) -> None:
        """A model is called."""
        heard = [acted(message) for message in _heard(spans)]
        shown = [] if heard else self.unseen
        self.unseen = []
        known = self._known_until(heard)
        reply = self._open_reply() if known else None
        for message in heard[known or self._begin(heard, spans, shown) :]:
            if message.role == "assistant" and (message.calls or message.text):  # its own span is lost
                self._act(message, shown)
                shown, reply = [], None
            elif message.role == "tool":
                shown.append(message.text)
                self._hear_result(message)
            elif message.role == "user":
                shown.append(message.text)
                if reply is not None:
                    self.talk.answer(reply, message)
        self.shown[number] = shown
        self.saying[number] = [replace(acted(message), at=spans[0].until or spans[0].at) for message in _said(spans)]

    def answers(self, number: int) -> None:
        """A model has answered."""
        for message in self.saying.pop(number, []):
            if message.role == "system":
                self.talk.system += [] if self.talk.system else [message.text]
            else:
                self._act(message, self.shown.pop(number, []))

    def uses(self, number: int, span: Span) -> None:
        """A tool is called, or a span begins that may be one by its name."""
        name = tool_name(_PREFIX.sub("", span.name))
        arguments = _arguments(span.asked)
        keys = _keys(span.call_id, name, arguments)
        if self._claim(number, keys):
            return
        if self.saying:  # a tool may begin before the span ends in which a model called it
            calls = ((at, call) for at, said in self.saying.items() for message in said for call in message.calls)
            early = next((at for at, call in calls if not set(keys).isdisjoint(_keys(*call))), None)
            if early is not None:
                self.answers(early)
        if not self._claim(number, keys) and span.kind == "tool":
            self._act(Message("assistant", "", ((span.call_id, name, arguments),), at=span.at), self.unseen)
            self.unseen = []
            self._claim(number, keys)

    def returns(self, number: int, span: Span) -> None:
        """A tool came back; where its content was not captured, the next input of a model may hold it."""
        if number not in self.claims:
            return
        answer = answer_of(span.answered)
        if span.ok is not None and not answer.is_error:
            answer = replace(answer, is_error=not span.ok)
        if answer.text:
            self.talk.answer(self.claims[number], answer)
            self.unseen.append(answer.text)
        else:
            self.talk.judge(self.claims[number], answer.is_error)

    def ended(self, answered: Any, untold: str) -> Conversation:
        """The whole run."""
        if self.is_first and (text := _plain_answer(answered)):
            self._act(Message("assistant", text), self.unseen)
        self.talk.task = self.talk.task or _task_in(self.asked) or untold
        return self.talk.ended()

    def _begin(self, heard: list[Message], spans: list[Span], shown: list[str]) -> int:
        """A conversation that is new: its last user turn is a task, what came before it was shown.

        Returns:
            Where in it the agent's own work begins.
        """
        at = max((k for k, message in enumerate(heard) if message.role == "user" and message.text), default=None)
        if self.is_first:
            self.is_first = False
            self.talk.system = [message.text for message in heard if message.role == "system"]
            told = next((text for span in spans if (text := plain_text(span.asked))), "")
            self.talk.task = _task_in(self.asked, told) if at is None else heard[at].text
        if at is None:
            return 0
        shown += [_told(message) for message in heard[:at] if message.role != "system"]
        if heard[at].text != self.talk.task:
            shown.append(heard[at].text)
        return at + 1

    def _known_until(self, heard: list[Message]) -> int | None:
        """Where in a history the last of the agent's acts that are known already ends."""
        here: Counter[tuple[str, ...]] = Counter()
        found = None
        for k, message in enumerate(heard):
            atoms = _atoms(message)
            here.update(atoms)
            if any(here[atom] <= self.known[atom] for atom in atoms):
                found = k + 1
        return found

    def _act(self, message: Message, shown: list[str]) -> None:
        """What an agent did, after what it was shown."""
        for text in shown:
            self.talk.see(text)
        self.known.update(_atoms(message))
        first = len(self.talk.steps)
        self.talk.act(message)
        for k, call in enumerate(message.calls):
            for key in _keys(*call):
                self.open.setdefault(key, deque()).append(first + k)

    def _claim(self, number: int, keys: list[tuple[str, ...]]) -> bool:
        """Find the first call that goes by one of the keys and that no other span of a tool is."""
        for key in keys:
            waiting = self.open.get(key, deque())
            while waiting:
                step = waiting.popleft()
                if step not in self.taken:
                    self.taken.add(step)
                    self.claims[number] = step
                    return True
        return False

    def _open_reply(self) -> int | None:
        """The last step, if it is a reply that nobody has answered."""
        last = len(self.talk.steps) - 1
        return last if last >= 0 and self.talk.steps[last].tool == REPLY and not self.talk.is_answered(last) else None

    def _hear_result(self, message: Message) -> None:
        """A result that the model is shown; the tool's own span may have told it already."""
        step = self.talk.call_of(message)
        if step is None:
            step = self._open_reply()  # an action that was written in words
        if step is not None and self.talk.is_answered(step):
            self.talk.judge(step, message.is_error)
        elif step is not None:
            self.talk.answer(step, message)


def _keys(call_id: str, name: str, arguments: str) -> list[tuple[str, ...]]:
    """What a call may be found by, best first."""
    return [*([("id", call_id)] if call_id else []), ("call", name, arguments), ("tool", name)]


def _atoms(message: Message) -> list[tuple[str, ...]]:
    """What of an agent's turn is known again."""
    if message.role != "assistant":
        return []
    if message.calls:
        return [("call", name, arguments) for _, name, arguments in message.calls]
    return [("text", " ".join(message.text[: 4 * _HEAD].split())[:_HEAD])]


def _heard(spans: Sequence[Span]) -> list[Message]:
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


def _arguments(asked: Any) -> str:
    """A tool's arguments without what tracers put around them."""
    found = decoded(asked)
    if isinstance(found, dict) and found.keys() >= {"args", "kwargs"}:
        found = ({"args": found["args"]} if found["args"] else {}) | (found["kwargs"] or {})
    elif isinstance(found, dict):
        inner = next((found[key] for key in ("input", "inputs") if found.keys() == {key}), found)
        found = found["inputs"] if isinstance(found.get("inputs"), dict) else inner
    return arguments_of(found)
