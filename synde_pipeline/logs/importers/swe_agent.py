"""SWE-agent: one run a `.traj` file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from synde_pipeline.logs.documents import Lines
from synde_pipeline.logs.importers.base import Declared, Draft, Importer
from synde_pipeline.logs.importers.chat import Message, conversation_of, message_of, text_of
from synde_pipeline.logs.importers.swe_bench import DOMAIN, instance_of, key_of, named, told
from synde_pipeline.records import canonical_json, content_hash

_OWN = frozenset(
    {"append", "create", "edit", "exit_forfeit", "find_file", "goto", "insert", "open", "scroll_down"}
    | {"scroll_up", "search_dir", "search_file", "set_cursors", "str_replace_editor", "submit"}
    | {"undo_edit", "view_image"}
)
"""Commands of SWE-agent's own interface; all else that it types is a shell's."""


class SweAgent(Importer):
    """Importer of SWE-agent, versions 0 and 1."""

    name = "swe-agent"
    declared = Declared(
        identity="hash of the raw file: the format has no ids; the task is `instance_id`, else the file's name",
        time="none: days by --start-day and --per-day",
        domain="software; an instance of SWE-bench names its repository as scope",
        task="first user turn of `history` that is no demonstration",
        steps="one an entry of `trajectory` (thought, action, observation), else of `history`",
        outcome="none in the file: a SWE-bench report in the same import gives it; `exit_status` is no outcome",
        label_source="verifier, from the report",
        dropped=("info", "replay_config", "environment", "trajectory.state", "trajectory.query", "trajectory.messages"),
    )
    known = frozenset({"environment", "trajectory", "history", "info", "replay_config", "instance_id"})

    def detects(self, document: Any) -> bool:
        """An object whose `trajectory` has actions and observations, or whose `history` names agents."""
        return any(map(_is_run, document if isinstance(document, Lines) else [document]))

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the run, or the runs of JSON lines."""
        yield from document if isinstance(document, Lines) else [document]

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        history = [message for message in _history(row) if not message.get("is_demo")]
        talk = conversation_of(_messages(row.get("trajectory"), history))
        task, rest = told(talk.task)
        instance = instance_of(row, path)
        task_id, scope = named(instance, self.name)
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=task_id,
            domain=DOMAIN,
            task=task,
            steps=talk.steps,
            system="\n".join(part for part in (talk.system, rest) if part),
            scope=scope,
        )

    def label_key(self, row: Any, draft: Draft) -> str:
        """The instance's name in reports."""
        return key_of(draft.task_id.split(":", 2)[2])


def _is_run(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    entries, history = row.get("trajectory"), row.get("history")
    if isinstance(entries, list) and ("history" in row or "info" in row):
        return not entries or any(isinstance(one, dict) and one.keys() >= {"action", "observation"} for one in entries)
    said = {"role", "content", "agent", "message_type"}
    return isinstance(history, list) and any(isinstance(one, dict) and one.keys() >= said for one in history)


def _history(row: dict[str, Any]) -> list[dict[str, Any]]:
    if history := row.get("history"):
        return history
    first = row["trajectory"][0]
    return first.get("query") or first["messages"]


def _messages(entries: Any, history: list[dict[str, Any]]) -> Iterator[Message]:
    if not entries:
        for message in history:
            yield replace(message_of(message), is_error=None)  # a tool's text says nothing certain of its success
        return
    for message in history:
        if message["role"] == "system":
            yield Message("system", text_of(message.get("content")))
    # Later user turns of old versions are the observations, which `trajectory` has too.
    asked = (text_of(message.get("content")) for message in history if message["role"] == "user")
    yield Message("user", next(asked, ""))
    acted = iter([message for message in history if message["role"] == "assistant"])
    said = next(acted, {})
    for number, entry in enumerate(entries):
        action = str(entry["action"] or "").strip()
        calls: tuple[tuple[str, str, str], ...] = ()
        if said and str(said.get("action") or "").strip() == action:
            calls, said = message_of(said).calls[:1], next(acted, {})
        yield from _turn(number, entry, calls or _called(action))


def _turn(number: int, entry: dict[str, Any], calls: tuple[tuple[str, str, str], ...]) -> Iterator[Message]:
    """What the agent did, and what it saw of it."""
    calls = tuple((str(number), tool, arguments) for _, tool, arguments in calls)
    yield Message("assistant", str(entry.get("thought") or entry.get("response") or ""), calls)
    if observation := entry["observation"]:
        yield Message("tool", text_of(observation), call_id=str(number))


def _called(action: str) -> tuple[tuple[str, str, str], ...]:
    """The call of what was typed; none of nothing."""
    if not action:
        return ()
    name, *rest = action.split(None, 1)
    if name not in _OWN:
        return (("", "bash", canonical_json({"command": action})),)
    return (("", name, canonical_json({"args": rest[0]} if rest else {})),)
