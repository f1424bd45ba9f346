"""Spans of one trace -> one run: in order of time, each message once, tools' spans joined to the calls they answer."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from synde_pipeline.logs.importers.chat import Conversation, Message, conversation_of
from synde_pipeline.logs.importers.otel_content import Said, ToolUse, kind_of, outer_words, said_in, tool_use
from synde_pipeline.logs.importers.otel_messages import parsed
from synde_pipeline.logs.importers.otel_spans import Span, moment

NO_CONTENT = "[content was not captured]"
_HEAD = 80
"""Characters by which an assistant's words are known again: frameworks add to their ends."""


def conversation_in(spans: list[Span]) -> Conversation:
    """The run that the spans of a trace recorded; without any content its task says so."""
    judged = _below(spans, {span.id for span in spans if kind_of(span) == "judge"})
    spans = [span for span in spans if kind_of(span) != "judge" and span.id not in judged]
    run = _Run()
    for _, span, part in sorted(_moments(spans), key=lambda one: one[0]):
        run.add(span, part)
    root = root_of(spans)
    given, answer = outer_words(root) if root is not None else ("", "")
    messages = run.whole()
    if not any(message.role == "user" and message.text for message in messages):
        name = root.name if root is not None else ""
        messages = [Message("user", given or f"{name} {NO_CONTENT}".strip()), *messages]
        if given and answer and not any(message.role == "assistant" and not message.calls for message in messages):
            messages.append(Message("assistant", answer))
    return conversation_of(messages)


def root_of(spans: list[Span]) -> Span | None:
    """The first span without a parent in the trace."""
    ids = {span.id for span in spans}
    roots = [span for span in spans if not span.parent or span.parent not in ids or span.parent == span.id]
    return min(roots or spans, key=lambda span: span.start or 0, default=None)


def _below(spans: list[Span], tops: set[str]) -> set[str]:
    """Ids of the spans under some others."""
    children: dict[str, list[str]] = {}
    for span in spans:
        children.setdefault(span.parent, []).append(span.id)
    found: set[str] = set()
    todo = list(tops)
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo += new
    return found


def _above(spans: list[Span], ids: set[str]) -> set[str]:
    """Ids of the spans over some others, up to the tool that one of them works for."""
    parents = {span.id: span.parent for span in spans if kind_of(span) != "tool"}
    found: set[str] = set()
    for at in ids:
        while (at := parents.get(at, "")) and at not in found:
            found.add(at)
    return found


_Moment = tuple[tuple[float, int, int], Span, "Said | str"]


def _moments(spans: list[Span]) -> Iterator[_Moment]:
    """What happened when: a model was asked and answered, a tool was called and came back.

    A span that wraps another one with content (an agent around its models, a framework's call around the client's)
    would only say the same again.
    """
    said = {
        number: found for number, span in enumerate(spans) if kind_of(span) != "tool" and _any(found := said_in(span))
    }
    wrapping = _above(spans, {spans[number].id for number in said if spans[number].id})
    for number, span in enumerate(spans):
        start = span.start if span.start is not None else number
        end = span.end if span.end is not None else start
        late = end > start
        if kind_of(span) == "tool":
            yield (start, 4, number), span, "call"
            yield (end, 1 if late else 5, number), span, "result"
        elif number in said and (not span.id or span.id not in wrapping):
            yield (start, 2, number), span, Said(said[number].inputs, ())
            yield (end, 0 if late else 3, number), span, Said((), said[number].outputs)


def _any(said: Said) -> bool:
    return bool(said.inputs or said.outputs)


@dataclass
class _Run:
    """The messages of a run in the making."""

    messages: list[Message] = field(default_factory=list)
    seen: Counter[tuple[str, ...]] = field(default_factory=Counter)
    calls: dict[str, str] = field(default_factory=dict)
    """A call's id in the log -> its id here, which no other call has; the last one where a log repeats its ids."""
    n_calls: int = 0
    waiting: dict[str, deque[str]] = field(default_factory=dict)
    """Calls that no tool's span answers yet, by their own id, by tool and arguments, and by tool."""
    taken: set[str] = field(default_factory=set)
    """Calls that a tool's span answers."""
    answered: set[str] = field(default_factory=set)
    failed: dict[str, bool] = field(default_factory=dict)
    """Calls of which a tool's span says whether they failed."""
    passed_on: set[str] = field(default_factory=set)
    """Texts that the agent itself gave to a tool: a second agent's task is no word of the user."""
    here: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """What the input that is being heard has said so far."""
    of_span: dict[int, str] = field(default_factory=dict)
    """Span of a tool -> the call that it answers."""

    def add(self, span: Span, part: Said | str) -> None:
        """Add what happened at one moment."""
        if isinstance(part, Said):
            for message in part.inputs:
                self._hear(message)
            self.here.clear()
            for message in part.outputs:
                self.seen.update(_atoms(message))
                self._say(replace(message, at=moment(span.end or span.start)))
        elif part == "call":
            self._call(span, tool_use(span))
        else:
            self._return(tool_use(span).result, self.of_span[id(span)], failed=span.failed)

    def _return(self, result: str, call_id: str, *, failed: bool) -> None:
        """Add what a tool's span gives back; where its content was not captured the next input may hold it."""
        self.failed[call_id] = failed
        if result:
            self.answered.add(call_id)
            self.seen["tool", result] += 1
            self.messages.append(Message("tool", result, call_id=call_id, is_error=failed))

    def whole(self) -> list[Message]:
        """All messages, those of tools that came back without content last: only whether they failed is known."""
        silent = [call_id for call_id in self.failed if call_id not in self.answered]
        return [*self.messages, *(Message("tool", "", call_id=one, is_error=self.failed[one]) for one in silent)]

    def _hear(self, message: Message) -> None:
        """Add what of a message was not there before: every input repeats the whole history."""
        new = set()
        for atom in _atoms(message):
            self.here[atom] += 1
            if self.here[atom] > self.seen[atom]:
                self.seen[atom] = self.here[atom]
                new.add(atom)
        if not new:
            return
        if message.role == "assistant":
            calls = tuple(call for call in message.calls if ("call", *call[1:]) in new)
            is_new = any(atom[0] == "assistant" for atom in new)
            self._say(replace(message, text=message.text if is_new else "", calls=calls))
        elif message.role == "tool":
            call_id = self.calls.get(message.call_id, message.call_id)
            if call_id not in self.answered:
                self.answered.add(call_id)
                self.messages.append(
                    replace(message, call_id=call_id, is_error=self.failed.get(call_id, message.is_error))
                )
        elif message.role != "user" or message.text not in self.passed_on:
            self.messages.append(message)

    def _say(self, message: Message) -> None:
        """Add what an assistant says or calls, every call under an id of its own."""
        if not message.calls and not message.text:
            return
        calls = []
        for native, name, arguments in message.calls:
            self.n_calls += 1
            call_id = f"{native}#{self.n_calls}"
            self.calls[native] = call_id
            for key in _keys(native, name, arguments):
                self.waiting.setdefault(key, deque()).append(call_id)
            self.passed_on.update(_texts_in(arguments))
            calls.append((call_id, name, arguments))
        self.messages.append(replace(message, calls=tuple(calls)))

    def _call(self, span: Span, use: ToolUse) -> None:
        """Find the call that a tool's span answers, or make it one: code that an agent writes calls tools as well."""
        for key in _keys(use.call_id, use.name, use.arguments):
            waiting = self.waiting.get(key, deque())
            while waiting and waiting[0] in self.taken:
                waiting.popleft()
            if waiting:
                break
        else:
            self.seen["call", use.name, use.arguments] += 1
            self._say(Message("assistant", "", ((use.call_id, use.name, use.arguments),), at=moment(span.start)))
            waiting = deque([self.messages[-1].calls[0][0]])
        self.of_span[id(span)] = waiting[0]
        self.taken.add(waiting[0])


def _keys(call_id: str, name: str, arguments: str) -> list[str]:
    """What a call may be found by, best first."""
    return [*([f"id {call_id}"] if call_id else []), f"call {name} {arguments}", f"tool {name}"]


def _atoms(message: Message) -> list[tuple[str, ...]]:
    """What of a message is known again."""
    if message.role == "tool":
        return [("tool", message.call_id or message.text)]
    if message.role != "assistant":
        return [(message.role, message.text)]
    calls = [("call", name, arguments) for _, name, arguments in message.calls]
    head = " ".join(message.text[: 4 * _HEAD].split())[:_HEAD]
    return [("assistant", head), *calls] if head else list(calls)


def _texts_in(arguments: str) -> list[str]:
    found: Any = parsed(arguments)
    return [value for value in found.values() if isinstance(value, str)] if isinstance(found, dict) else []
