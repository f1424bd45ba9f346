"""OpenAI's chat as JSON lines: `{"messages": [...]}`, one conversation a line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer, parse_time, task_hash
from synde_pipeline.logs.importers.chat import conversation_of
from synde_pipeline.logs.importers.react import acted
from synde_pipeline.logs.importers.turns import turns_of
from synde_pipeline.records import content_hash

_FOREIGN = {"info", "trajectory_format", "instance_id", "run_type", "request", "response"}
"""Fields by which other formats that hold messages are known."""

_MOST = 1e300
_NO_SCORES = {"weight", "timestamp", "created_at", "created"}


class OpenAIChat(Importer):
    """Importer of chats; agents that write `Thought:` and `Action:` into them are read too."""

    name = "openai-chat"
    declared = Declared(
        identity="hash of the raw row: the format has no ids",
        time="`timestamp`, `created_at` or `created` where a row has one; else days by --start-day and --per-day",
        domain="`chat`; say it with --domain",
        task="first user turn",
        steps="one a tool call, one a reply",
        outcome="none (`weight` is none); a number in the row or in its `metadata` is a score for --outcome",
        label_source="none",
        dropped=("tools", "functions", "parallel_tool_calls", "weight"),
    )
    known = frozenset(
        {"messages", "tools", "functions", "parallel_tool_calls", "weight", "metadata", "model"}
        | {"timestamp", "created_at", "created"}
    )

    def detects(self, document: Any) -> bool:
        """A list with an object whose `messages` have roles."""
        return isinstance(document, list) and any(_is_chat(row) for row in document)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the rows in file order."""
        yield from document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one conversation."""
        if not isinstance(row, dict) or not isinstance(row["messages"], list):
            raise TypeError("row is no object with a list of messages")
        talk = conversation_of(acted(message) for message in turns_of(row["messages"]))
        times = (row.get(name) for name in ("timestamp", "created_at", "created"))
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=f"chat:chat:{task_hash(talk.task)}",
            domain="chat",
            task=talk.task,
            steps=talk.steps,
            model=row["model"] if isinstance(row.get("model"), str) else "",
            system=talk.system,
            started_at=parse_time(next((value for value in times if value is not None), None)),
        )

    def scores(self, row: Any) -> Mapping[str, float]:
        """Numbers of the row and of its metadata."""
        held = row.get("metadata")
        given = {**(held if isinstance(held, dict) else {}), **row}
        numbers = {
            name: value for name, value in given.items() if isinstance(value, int | float) and name not in _NO_SCORES
        }
        return {name: float(value) for name, value in numbers.items() if abs(value) < _MOST}


def _is_chat(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list) or row.keys() & _FOREIGN:
        return False
    return any(isinstance(message, dict) and isinstance(message.get("role"), str) for message in row["messages"])
