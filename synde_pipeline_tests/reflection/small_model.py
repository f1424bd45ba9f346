"""A small deterministic language model: it answers from the request alone, as the schemas of the reflectors ask."""

import json
import re
from typing import Any

LESSON = "Call find with a title, never with a name."


def model(body: dict[str, Any]) -> str:
    """What it says to one request."""
    name = body["response_format"]["json_schema"]["name"]
    text = body["messages"][1]["content"]
    if name == "TrialsAnswer":
        return json.dumps(trials())
    return json.dumps(_judge(text) if name == "JudgeAnswer" else _reflect(text, len(body["messages"]) > 2))


def _judge(text: str) -> dict[str, Any]:
    return {"reasons": "renewed or not", "status": "success" if "came back: renewed" in text else "uncertain"}


def _reflect(text: str, is_second_look: bool) -> dict[str, Any]:
    failed = re.search(r"step (\d+)\n(?:(?!step \d).)*the log says that it failed", text, re.DOTALL)
    return reflection(
        why="It ended: " + re.findall(r"How the run ended: (.*)\.", text)[-1],
        error_step=int(failed[1]) if failed else None,
        confidence=0.8 if is_second_look else 0.6,
        lessons=[lesson()] if failed else [],
    )


def lesson(**values: Any) -> dict[str, Any]:
    """A lesson as a model writes it."""
    like = {"kind": "pitfall", "scope": "tool:find", "title": "find needs a title", "description": "When searching."}
    return {**like, "content": LESSON, **values}


def trials(**values: Any) -> dict[str, Any]:
    """What it says of several trials."""
    found = lesson(kind="strategy", scope="tool:renew", title="loan before renew", content="Look the loan up first.")
    return {"first_difference": "step 1", "cause": "It looked the loan up.", "lessons": [found], **values}


def reflection(**values: Any) -> dict[str, Any]:
    """A whole answer."""
    texts = ("error_identification", "root_cause", "correct_approach", "key_insight", "strategy", "why", "principle")
    empty = {"confidence": 0.5, "error_step": None, "tags": [], "lessons": []}
    return {**{name: f"{name}." for name in texts}, **empty, **values}
