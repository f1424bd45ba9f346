"""Who&When: failed runs of groups of agents; a person named the decisive mistake, and it is the step that failed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer
from synde_pipeline.logs.importers.chat import Message, conversation_of, text_of
from synde_pipeline.records import Step, canonical_json, content_hash

DOMAIN = "general_assistance"
_KEYS = frozenset({"history", "question", "mistake_agent", "mistake_step"})
_TERMINALS = frozenset({"Computer_terminal", "ComputerTerminal"})
_EXIT_CODE = re.compile(r"\s*exitcode: (-?\d+)")
_BLOCK = re.compile(r"```([\w.+-]*)[ \t]*\n(.*?)```", re.DOTALL)


class WhoAndWhen(Importer):
    """Importer of Who&When, both parts."""

    name = "who-and-when"
    declared = Declared(
        identity="hash of the raw file; the task is `question_ID`",
        time="none: days by --start-day and --per-day",
        domain="general_assistance",
        task="`question`",
        steps="one a turn of an agent; code that the terminal ran is a call, and `mistake_step` is a step that failed",
        outcome="failure: only failed runs were collected (`is_correct`)",
        label_source="verifier where the file has `is_correct`, else human",
        ground_truth=("ground_truth", "groundtruth"),
        dropped=("level", "labels", "mistake_reason", "mistake_agent", "history.name"),
    )
    known = frozenset(
        {"history", "question", "question_ID", "ground_truth", "groundtruth", "level", "is_correct"}
        | {"is_corrected", "mistake_agent", "mistake_step", "mistake_reason", "system_prompt", "labels"}
    )

    def detects(self, document: Any) -> bool:
        """An object with a `history`, a `question` and the mistake's agent and step, or a list of such."""
        rows = document if isinstance(document, list) else [document]
        return any(isinstance(row, dict) and row.keys() >= _KEYS for row in rows)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the run or the runs."""
        yield from document if isinstance(document, list) else [document]

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        turns = _turns(row)
        talk = conversation_of([Message("user", text_of(row["question"])), *(message for _, message in turns)])
        places = [place for place, message in turns if message.role == "assistant"]
        is_correct = row.get("is_correct")
        prompts = row.get("system_prompt") or {}
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=f"{self.name}:{DOMAIN}:{row.get('question_ID') or content_hash(row['question'])[:16]}",
            domain=DOMAIN,
            task=talk.task,
            steps=_blamed(talk.steps, places, int(row["mistake_step"])),
            outcome="success" if is_correct is True else "failure",
            reward=float(is_correct) if isinstance(is_correct, bool) else None,
            label_source="verifier" if isinstance(is_correct, bool) else "human",
            system="\n\n".join(f"# {agent}\n{text}" for agent, text in prompts.items()),
        )


def _turns(row: dict[str, Any]) -> list[tuple[int, Message]]:
    """Messages of the group as one agent, each with its place in the history."""
    history, found = row["history"], []
    thought, since = "", None  # an agent's thought, and where it began: a person may have blamed either
    for place, turn in enumerate(history):
        text = text_of(turn["content"])
        speaker = str(turn.get("name") or turn["role"])
        after = history[place + 1] if place + 1 < len(history) else {}
        if place == 0:  # the first speaker reads out what the group was given
            if text.strip() != str(row["question"]).strip():
                found.append((place, Message("user", text)))
        elif speaker in _TERMINALS:
            code = _EXIT_CODE.match(text)
            found.append((place, Message("tool", text, is_error=None if code is None else int(code[1]) != 0)))
        elif speaker.lower() in ("human", "user"):
            found.append((place, Message("user", text)))
        elif speaker.endswith("(thought)"):
            thought, since = "\n".join(part for part in (thought, text) if part), place if since is None else since
        else:
            found.append((place if since is None else since, _act(text, thought, after)))
            thought, since = "", None
    return found


def _act(text: str, thought: str, after: dict[str, Any]) -> Message:
    """A turn: a call where the terminal ran its code, else words."""
    blocks = _BLOCK.findall(text)
    ran = str(after.get("name") or after.get("role")) in _TERMINALS and _EXIT_CODE.match(text_of(after.get("content")))
    if not blocks or not ran:
        return Message("assistant", text, reasoning=thought)
    code = {"code": "\n\n".join(code.rstrip("\n") for _, code in blocks), "language": blocks[0][0]}
    call = ("", "run_code", canonical_json(code))
    return Message("assistant", _BLOCK.sub("", text).strip(), (call,), reasoning=thought)


def _blamed(steps: tuple[Step, ...], places: list[int], mistake: int) -> tuple[Step, ...]:
    """The steps, of which the one that a person blamed failed; a mistake in what the group was given blames none."""
    at = next((k for k in reversed(range(len(steps))) if places[k] <= mistake), None)
    if at is None:
        return steps
    return (*steps[:at], steps[at].model_copy(update={"success": False}), *steps[at + 1 :])
