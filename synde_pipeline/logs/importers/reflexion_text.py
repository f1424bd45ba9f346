"""Reflexion's logs of question answering: trials, their sections, and runs of thoughts, actions and observations."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from synde_pipeline.logs.importers.base import Draft
from synde_pipeline.logs.importers.chat import Message, conversation_of
from synde_pipeline.records import INVALID, Outcome, canonical_json, content_hash

DOMAIN = "question_answering"
_TRIAL = re.compile(r"^BEGIN TRIAL (\d{1,6})\s*$")
_SECTION = re.compile(r"^-{2,60} BEGIN (CORRECT|INCORRECT|HALTED) AGENTS -*\s*$", re.MULTILINE)
_PART = re.compile(r"^(Thought|Action|Observation) (\d{1,9}): ?(.*)$")
_VERDICT = re.compile(r"^Answer is (IN)?CORRECT\s*$")
_CALL = re.compile(r"^\s*([A-Za-z_]\w*)\[(.*)\]\s*$", re.DOTALL)
_STARTS = ("#####", "BEGIN TRIAL ", "-----")
_OUTCOMES: dict[str, Outcome] = {"CORRECT": "success", "INCORRECT": "failure"}


def is_text_log(text: str) -> bool:
    """Whether a text begins as these logs do, and has a section and a question; a page that quotes one is none."""
    return text.lstrip()[:100].startswith(_STARTS) and bool(_SECTION.search(text)) and "\nQuestion:" in text


class TextRun(NamedTuple):
    """The part of a log that is one run."""

    trial: int
    section: str
    text: str


def runs_of(text: str) -> Iterator[TextRun]:
    """Yield the runs of a log; a run that a trial lists twice is yielded once.

    A run that answered wrongly with its last step is listed as incorrect and again, word for word, as halted.
    """
    trial, section, lines = 0, "", []
    seen: set[str] = set()

    def run() -> Iterator[TextRun]:
        body = "\n".join(lines).strip()
        if section and body and (key := content_hash([trial, body])) not in seen:
            seen.add(key)
            yield TextRun(trial, section, body)
        lines.clear()

    for line in _lines(text):
        begins = _SECTION.match(line)
        if line.startswith("Question:") or begins or line.startswith("#####"):
            yield from run()
        if found := _TRIAL.match(line):
            trial, section = int(found[1]), ""
        elif begins:
            section = begins[1]
        elif not line.startswith("#####"):
            lines.append(line)
    yield from run()


def _lines(text: str) -> list[str]:
    return [line.rstrip("\r") for line in text.split("\n")]


def parse_run(row: TextRun) -> Draft:
    """Read one run.

    Raises:
        ValueError: there is no question, or no step.
    """
    question, parts = _parts(row.text)
    talk = conversation_of([Message("user", question), *_messages(parts)])
    if not talk.steps:
        raise ValueError("no action: a run needs thoughts, actions and observations")
    outcome = _OUTCOMES.get(row.section, "unknown")
    return Draft(
        trace_uid=f"reflexion:{content_hash(row)[:24]}",
        task_id=f"hotpotqa:{DOMAIN}:{content_hash(question)[:16]}",
        domain=DOMAIN,
        task=talk.task,
        steps=talk.steps,
        outcome=outcome,
        reward={"success": 1.0, "failure": 0.0}.get(outcome),
        label_source="none" if outcome == "unknown" else "verifier",
        trial=row.trial,
    )


def _parts(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The question, and (kind, text) of what follows it; the reference answer is left out."""
    question: list[str] = []
    parts: list[tuple[str, list[str]]] = []
    for line in _lines(text):
        if line.startswith("Correct answer:"):
            break
        if found := _PART.match(line):
            parts.append((found[1], [found[3]]))
        else:
            (parts[-1][1] if parts else question).append(line)
    return "\n".join(question).removeprefix("Question:").strip(), [(kind, "\n".join(said)) for kind, said in parts]


def _messages(parts: list[tuple[str, str]]) -> Iterator[Message]:
    thoughts: list[str] = []
    for kind, text in parts:
        if kind == "Thought":
            thoughts.append(text)
        elif kind == "Action":
            found = _CALL.match(text)
            tool, arguments = (found[1], canonical_json({"input": found[2]})) if found else (INVALID, text)
            yield Message("assistant", "\n".join(thoughts), (("", tool, arguments),))
            thoughts = []
        elif not _VERDICT.match(text):  # the verdict is the outcome: the agent could not know it
            yield Message("tool", text)
    if thoughts:
        yield Message("assistant", "\n".join(thoughts))
