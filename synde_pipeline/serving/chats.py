"""A chat as a run: task, steps, what was not read yet; and the fingerprints by which a request finds its trace."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.logs.importers.chat import Talk, arguments_of
from synde_pipeline.logs.importers.parts import text_in
from synde_pipeline.logs.importers.react import acted
from synde_pipeline.logs.importers.turns import turns_of
from synde_pipeline.records import Step, canonical_json

Raw = Mapping[str, Any]
"""A message as it came over the wire."""


@dataclass(frozen=True)
class Chat:
    """What a request's messages say."""

    task: str
    system: str
    steps: tuple[Step, ...]
    unread: str
    """What the agent has been shown since its last action."""
    own: tuple[int, ...] = ()
    """Steps that this server answered."""


def read_chat(messages: Sequence[Raw], answered: Mapping[int, datetime] | None = None) -> Chat:
    """Read messages as an importer of logs would: one step a call, one a reply.

    Args:
        messages: of a request, or of a whole conversation.
        answered: index of each message that this server wrote -> when.

    Raises:
        InputError: they are no chat that an agent could act in.
    """
    answered = answered or {}
    talk, own, times = Talk(), list[int](), dict[int, datetime]()
    try:
        for number, raw in enumerate(_with_task(messages)):
            before = len(talk.steps)
            for message in turns_of([dict(raw)]):
                talk.add(acted(message))
            if number in answered:
                own += range(before, len(talk.steps))
                times |= dict.fromkeys(range(before, len(talk.steps)), answered[number])
        done = talk.ended()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"messages: {error}", expected="a chat in OpenAI's shape") from error
    steps = tuple(step.model_copy(update={"timestamp": times.get(step.index)}) for step in done.steps)
    return Chat(done.task, done.system, steps, talk.unread, tuple(own))


def _with_task(messages: Sequence[Raw]) -> Sequence[Raw]:
    """A chat without a user's turn is asked by its last system turn."""
    if any(message.get("role") == "user" for message in messages):
        return messages
    asking = [k for k, message in enumerate(messages) if message.get("role") in ("system", "developer")]
    return [{**message, "role": "user"} if k in asking[-1:] else message for k, message in enumerate(messages)]


def fingerprints(owner: str, messages: Sequence[Raw], after: str = "") -> list[str]:
    """Of every prefix of a chat, the empty one first: equal for a client that sends back what it was answered.

    Only what was said counts (role, text, calls and their ids): clients add and drop fields. `after` is the fingerprint
    of what was said before these messages.
    """
    found = [after or hashlib.sha256(owner.encode("utf-8")).hexdigest()]
    for message in messages:
        said = canonical_json([found[-1], _said(message)])
        found.append(hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest())
    return found


def _said(message: Raw) -> list[Any]:
    calls = []
    held = message.get("tool_calls")
    for call in held if isinstance(held, list) else ():
        function = call.get("function") or {} if isinstance(call, Mapping) else {}
        name = function.get("name") if isinstance(function, Mapping) else None
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        calls.append([call.get("id") if isinstance(call, Mapping) else "", name, arguments_of(arguments)])
    return [message.get("role"), text_in(message.get("content")), calls, message.get("tool_call_id")]
