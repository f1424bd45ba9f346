"""Runs as text: `Thought:`, `Action:`, `Observation:`, `Final Answer:`, with numbers or without.

An observation is the environment's. Where a model went on past its stop sign and wrote one itself, that and what
follows it is cut: in a message of the model always; in a text as soon as the real one follows.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synde_pipeline.logs.documents import Text
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, task_hash
from synde_pipeline.logs.importers.chat import Message, Talk, arguments_of
from synde_pipeline.logs.importers.parts import tool_name
from synde_pipeline.records import INVALID, content_hash

_LABEL = re.compile(
    r"^[ \t>*]*(Question|Task|Thought|Action Input|Action|Observation|Final Answer)"
    r"(?:[ \t]*(\d{1,6}))?[ \t]*:\**[ \t]*",
    re.MULTILINE,
)
_BRACKETS = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*[\[(](.*)[\])]\s*", re.DOTALL)
_RUNS = {"Question", "Task"}
_LAST = {"finish", "final_answer"}
"""Tools by which an agent gives its answer."""


@dataclass(frozen=True)
class _Part:
    label: str
    number: str
    text: str


@dataclass
class _Act:
    """A thought, what was done, and what came back."""

    thought: list[str]
    tool: str = ""
    arguments: str = ""
    observation: str | None = None
    number: str = ""


class ReactText(Importer):
    """Importer of ReAct runs in plain text."""

    name = "react-text"
    declared = Declared(
        identity="hash of the run's text",
        time="none: days by --start-day and --per-day",
        domain="`react`; say it with --domain",
        task="`Question:` or `Task:`",
        steps="one an `Action:`; the answer is a reply",
        outcome="none",
        label_source="none",
        dropped=("observations that the model wrote itself",),
    )

    def detects(self, document: Any) -> bool:
        """A text that opens with a question or a task, and thinks and acts."""
        if not isinstance(document, Text):
            return False
        first = _LABEL.match(document.lstrip())
        return (
            first is not None
            and first[1] in _RUNS
            and {"Thought", "Action"} <= {one[1] for one in _LABEL.finditer(document)}
        )

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the text of each run."""
        starts = [found.start() for found in _LABEL.finditer(document) if found[1] in _RUNS]
        for start, end in zip(starts, [*starts[1:], len(document)], strict=True):
            yield str(document[start:end])

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        question, *parts = _parts(row)
        talk = Talk()
        talk.task = question.text
        for act in _acts(parts):
            _play(act, talk)
        found = talk.ended()
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=f"react:react:{task_hash(found.task)}",
            domain="react",
            task=found.task,
            steps=found.steps,
        )


def acted(message: Message) -> Message:
    """A chat's message with the action that its text writes out as a call; any other message as it is."""
    if message.role == "user" and (found := _LABEL.match(message.text)) and found[1] == "Observation":
        return replace(message, role="tool", text=message.text[found.end() :].strip())
    if message.role != "assistant" or message.calls:
        return message
    parts = list(_parts(message.text))
    labels = [part.label for part in parts]
    if "Observation" in labels:
        parts = parts[: labels.index("Observation")]
    if not {"Action Input", "Thought"} & {part.label for part in parts}:
        return message
    act = next(_acts(parts), None)
    if act is None or act.tool in ("", INVALID):
        return message
    said = message.text[: _LABEL.search(message.text).start()].strip()  # pyright: ignore[reportOptionalMemberAccess]
    thought = "\n".join(part for part in (said, *act.thought) if part)
    if act.tool.lower() in _LAST:
        return replace(message, text=act.arguments, reasoning=thought)
    return replace(message, text=thought, calls=(("", act.tool, act.arguments),))


def _parts(text: str) -> Iterator[_Part]:
    found = list(_LABEL.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    for one, end in zip(found, ends, strict=False):
        yield _Part(one[1], one[2] or "", text[one.end() : end].strip())


def _acts(parts: list[_Part]) -> Iterator[_Act]:
    """What the agent did, without what it only imagined."""
    acts: list[_Act] = []
    thought: list[str] = []
    for part in parts:
        if part.label == "Thought":
            thought.append(part.text)
        elif part.label == "Action":
            acts.append(_action(part, thought))
            thought = []
        elif part.label == "Action Input" and acts and acts[-1].observation is None:
            acts[-1].arguments = arguments_of(part.text)
        elif part.label == "Observation":
            _observe(acts, part)
            thought = []
        elif part.label == "Final Answer":
            yield from acts
            yield _Act(thought, "finish", part.text)
            return  # what follows is the model's own next question
    yield from acts
    if thought:
        yield _Act(thought, INVALID)


def _observe(acts: list[_Act], part: _Part) -> None:
    """Put an observation to its action: the real one comes last, and what lies between was imagined."""
    if part.number:
        while acts and acts[-1].number and int(acts[-1].number) > int(part.number):
            acts.pop()
    if acts:
        acts[-1].observation = part.text


def _action(part: _Part, thought: list[str]) -> _Act:
    try:
        blob = json.loads(part.text.strip("`").removeprefix("json"))
    except (ValueError, RecursionError):
        blob = None
    if isinstance(blob, dict) and "action" in blob:
        return _Act(thought, tool_name(blob["action"]), arguments_of(blob.get("action_input")), number=part.number)
    if found := _BRACKETS.fullmatch(part.text):
        return _Act(thought, found[1], arguments_of(found[2]), number=part.number)
    return _Act(thought, tool_name(part.text), arguments_of(None), number=part.number)


def _play(act: _Act, talk: Talk) -> None:
    thought = "\n".join(act.thought)
    if act.tool.lower() in _LAST:
        talk.act(Message("assistant", act.arguments, reasoning=thought))
    else:
        arguments = act.arguments if act.tool != INVALID else thought
        talk.act(Message("assistant", "" if act.tool == INVALID else thought, (("", act.tool, arguments),)))
    if act.observation is not None:
        talk.see(act.observation)
        failed = True if act.observation.startswith("Error") else None
        talk.answer(len(talk.steps) - 1, Message("tool", act.observation, is_error=failed))
