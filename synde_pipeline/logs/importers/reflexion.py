"""Reflexion: verdicts of trials (JSON), programs (JSON lines), and question answering (text, see `reflexion_text`)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.documents import Lines, Text
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, outcome_of
from synde_pipeline.logs.importers.reflexion_text import is_text_log, parse_run, runs_of
from synde_pipeline.records import Step, canonical_json, content_hash

_TRIAL = re.compile(r"trial_(\d{1,6})(?!\d)")
_VERDICT = frozenset({"name", "memory", "is_success"})
_PROGRAM = frozenset({"is_solved", "prompt", "solution"})
_WORLDS = {"alfworld": "household", "webshop": "shopping"}


class Reflexion(Importer):
    """Importer of Reflexion."""

    name = "reflexion"
    declared = Declared(
        identity="hash of the raw row and its trial; the task is `name`, `task_id` or the question",
        time="none: days by --start-day and --per-day",
        domain="question_answering (text), code (programs), else by the file's folders: household, shopping, games",
        task="the question; `prompt`; of verdicts only the name of the environment",
        steps="the actions (text), the program handed in; verdicts have none",
        outcome="the section's name (a halted run has none), `is_solved`, `is_success`",
        label_source="verifier",
        ground_truth=("test", "canonical_solution", "Correct answer", "Answer is ..."),
        dropped=("memory", "stop_tokens", "original", "doctests", "prompt_terminology"),
    )
    known = frozenset(
        {"name", "memory", "is_success", "skip", "is_solved", "prompt", "solution", "reflections"}
        | {"implementations", "test_feedback", "task_id", "test", "canonical_solution", "entry_point"}
        | {"language", "doctests", "original", "prompt_terminology", "stop_tokens"}
    )

    def detects(self, document: Any) -> bool:
        """A text with trials, or a list of verdicts or of solved programs."""
        if isinstance(document, Text):
            return is_text_log(document)
        return isinstance(document, list) and any(
            isinstance(row, dict) and (row.keys() >= _VERDICT or row.keys() >= _PROGRAM) for row in document
        )

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the runs."""
        yield from runs_of(document) if isinstance(document, Text) else document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        if isinstance(document, Text):
            return parse_run(row)
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        return _program(row) if "is_solved" in row or isinstance(document, Lines) else _verdict(row, path)

    def missing(self, draft: Draft) -> str:
        """Verdicts come without what was done."""
        return "" if draft.steps else "no steps: env_results files hold verdicts and reflections, not what was done"


def _program(row: dict[str, Any]) -> Draft:
    outcome, label_source = outcome_of(float(_flag(row["is_solved"])))
    name = str(row.get("task_id") or row["name"])
    family = "humaneval" if name.startswith("HumanEval") else "mbpp" if name.startswith("mbpp") else "reflexion"
    reflections = row.get("reflections") or [""]
    code = canonical_json({"code": str(row["solution"] or "")})
    return Draft(
        trace_uid=f"reflexion:{content_hash(row)[:24]}",
        task_id=f"{family}:code:{name}",
        domain="code",
        task=str(row["prompt"]),
        steps=(Step(index=0, tool="submit", reasoning=str(reflections[-1]), arguments=code),),
        outcome=outcome,
        reward=float(row["is_solved"]),
        label_source=label_source,
    )


def _verdict(row: dict[str, Any], path: Path) -> Draft:
    outcome, label_source = outcome_of(float(_flag(row["is_success"])))
    trials = _TRIAL.findall(path.name)
    trial = int(trials[-1]) if trials else 0
    domain = next((domain for part in path.parts for name, domain in _WORLDS.items() if name in part), "games")
    return Draft(
        # A solved environment is not tried again, its row only repeated: the trial tells the rows apart.
        trace_uid=f"reflexion:{content_hash([trial, row])[:24]}",
        task_id=f"reflexion:{domain}:{row['name']}",
        domain=domain,
        task=str(row["name"]),
        steps=(),
        outcome=outcome,
        reward=float(row["is_success"]),
        label_source=label_source,
        trial=trial,
    )


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"verdict is {value!r}, expected true or false")
    return value
