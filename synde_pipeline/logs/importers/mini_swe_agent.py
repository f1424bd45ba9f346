"""mini-swe-agent: one run a `.traj.json` file, its outcome in a SWE-bench report beside it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer, Label, parse_time
from synde_pipeline.logs.importers.chat import Message, conversation_of, message_of
from synde_pipeline.logs.importers.swe_bench import DOMAIN, instance_of, key_of, labels_of, named, report_of, told
from synde_pipeline.records import canonical_json, content_hash

_BLOCK = re.compile(r"```(?:bash|sh|mswea_bash_command)[ \t]*\n(.*?)```", re.DOTALL)
_RETURN_CODE = re.compile(r"\s*<returncode>\s*(-?\d+)\s*</returncode>")


class MiniSweAgent(Importer):
    """Importer of mini-swe-agent and of SWE-bench's reports."""

    name = "mini-swe-agent"
    declared = Declared(
        identity="hash of the raw file: the format has no ids; the task is `instance_id`, else the file's name",
        time="`extra.timestamp` of the messages",
        domain="software; an instance of SWE-bench names its repository as scope",
        task="<pr_description> of the first user turn, else all of it; the rest is the system prompt's",
        steps="one a tool call or command block of the agent",
        outcome="none in the file: a SWE-bench report in the same import gives it; `exit_status` is no outcome",
        label_source="verifier, from the report",
        dropped=("info.submission", "info.exit_status", "info.model_stats", "messages.extra.response"),
    )
    known = frozenset({"info", "messages", "trajectory_format", "instance_id"})

    def detects(self, document: Any) -> bool:
        """An object with `messages` and an `info` of this agent."""
        if not isinstance(document, dict) or not isinstance(document.get("messages"), list):
            return False
        info = document.get("info")
        if isinstance(info, dict) and ("mini_version" in info or info.keys() >= {"exit_status", "submission"}):
            return True
        return str(document.get("trajectory_format", "")).startswith("mini-swe-agent")

    def tells(self, document: Any) -> str:
        """A report or the predictions of SWE-bench."""
        return report_of(document)

    def labels(self, document: Any) -> Iterator[Label]:
        """What a report says of its instances."""
        if report_of(document) == "SWE-bench report":
            yield from labels_of(document)

    def label_key(self, row: Any, draft: Draft) -> str:
        """The instance's name in reports."""
        return key_of(draft.task_id.split(":", 2)[2])

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the run."""
        yield document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        messages = [_message(raw) for raw in row["messages"] if raw["role"] != "exit"]
        talk = conversation_of(messages)
        task, rest = told(talk.task)
        task_id, scope = named(instance_of(row, path), self.name)
        times = sorted(message.at for message in messages if message.at is not None)
        config = (row.get("info") or {}).get("config") or {}
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=task_id,
            domain=DOMAIN,
            task=task,
            steps=talk.steps,
            model=str((config.get("model") or {}).get("model_name") or ""),
            system="\n".join(part for part in (talk.system, rest) if part),
            scope=scope,
            started_at=times[0] if times else None,
            ended_at=times[-1] if times else None,
        )


def _message(raw: Any) -> Message:
    message = message_of(raw)
    extra = raw.get("extra") or {}
    message = replace(message, at=parse_time(extra.get("timestamp")) or message.at)
    if message.role == "assistant" and not message.calls:
        return _with_command(message, extra.get("actions") or ())
    code = extra.get("returncode")
    if code is None and (found := _RETURN_CODE.match(message.text)):
        code = int(found[1])
    if message.role == "tool" or (message.role == "user" and code is not None):
        return replace(message, role="tool", is_error=None if code is None else code != 0)
    return message


def _with_command(message: Message, actions: Any) -> Message:
    """A reply that is a command in text, as versions without tool calls have it."""
    commands = [str(action["command"]) for action in actions] or [
        code.rstrip("\n") for code in _BLOCK.findall(message.text)
    ]
    if len(commands) != 1:
        return message
    thought = _BLOCK.sub("", message.text).strip()
    return replace(message, text=thought, calls=(("", "bash", canonical_json({"command": commands[0]})),))
