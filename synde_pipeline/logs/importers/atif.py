"""ATIF, the trajectories of Harbor and others, version 1.x; Harbor's own results give their labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import first_domain
from synde_pipeline.logs.importers.base import (
    Declared,
    Draft,
    Importer,
    Label,
    id_of,
    outcome_of,
    parse_time,
    task_hash,
)
from synde_pipeline.logs.importers.chat import Message, conversation_of
from synde_pipeline.logs.importers.turns import turns_of
from synde_pipeline.records import content_hash

_ROLES = {"user": "user", "system": "system", "agent": "assistant"}
_RESULT = {"trial_name", "task_name", "verifier_result"}


class Atif(Importer):
    """Importer of ATIF 1.x.

    Harbor writes `<trial>/result.json` and `<trial>/agent/trajectory.json`: the result labels what lies below it, and
    the folder `<task>__<letters>` says which trials are of one task.
    """

    name = "atif"
    declared = Declared(
        identity="`trajectory_id` or `session_id`, else hash of the raw row",
        time="the steps' `timestamp`; without them days by --start-day and --per-day",
        domain="the agent's name; say it with --domain",
        task="first user step",
        steps="one a tool call, one a message of the agent",
        outcome="Harbor's `result.json`, the reward `reward` or the only one; 1 is success",
        label_source="verifier",
        dropped=("metrics", "final_metrics", "subagent_trajectories", "notes", "extra", "steps copied as context"),
    )
    known = frozenset(
        {"schema_version", "session_id", "trajectory_id", "agent", "steps", "notes", "final_metrics", "extra"}
        | {"continued_trajectory_ref", "subagent_trajectories"}
    )

    def detects(self, document: Any) -> bool:
        """An object that names its schema, or a list with one."""
        return any(_is_run(row) for row in _objects(document))

    def tells(self, document: Any) -> str:
        """A trial's result in Harbor."""
        return "Harbor result: the label of the run beside it" if _is_result(document) else ""

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield each trajectory."""
        yield from _objects(document)

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trajectory."""
        if not isinstance(row, dict) or not isinstance(row["steps"], list):
            raise TypeError("row is no object with a list of steps")
        agent, steps = row["agent"], row["steps"]
        talk = conversation_of(message for step in steps for message in _messages_of(step))
        domain = first_domain(agent["name"], default=self.name)
        uid = row.get("trajectory_id") or row.get("session_id") or content_hash(row)[:24]
        times = [at for step in steps if (at := parse_time(step.get("timestamp")))]
        models = (agent.get("model_name"), *(step.get("model_name") for step in steps))
        return Draft(
            trace_uid=f"{self.name}:{id_of(uid)}",
            task_id=f"{self.name}:{domain}:{_task_of(path) or task_hash(talk.task)}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            model=next((model for model in models if isinstance(model, str)), ""),
            system=talk.system,
            started_at=min(times, default=None),
            ended_at=max(times, default=None),
        )

    def labels(self, document: Any) -> Iterator[Label]:
        """The reward in a trial's result."""
        if not _is_result(document):
            return
        rewards = (document["verifier_result"] or {}).get("rewards") or {}
        reward = rewards.get("reward", next(iter(rewards.values())) if len(rewards) == 1 else None)
        outcome, source = outcome_of(reward)
        if outcome != "unknown":
            yield Label(self.name, outcome, source, reward, at=parse_time(document.get("finished_at")), below=True)

    def label_key(self, row: Any, draft: Draft) -> str:
        """One for all: a result speaks of the runs in its folder."""
        return self.name


def _objects(document: Any) -> list[Any]:
    return document if isinstance(document, list) else [document] if isinstance(document, dict) else []


def _is_run(row: Any) -> bool:
    return isinstance(row, dict) and str(row.get("schema_version")).startswith("ATIF-v1") and "steps" in row


def _is_result(document: Any) -> bool:
    return isinstance(document, dict) and document.keys() >= _RESULT


def _task_of(path: Path) -> str:
    """The task's name by the folder of a Harbor trial; empty where the file lies elsewhere."""
    task, mark, _ = path.parent.parent.name.rpartition("__")
    return task if mark and path.parent.name == "agent" else ""


def _messages_of(step: dict[str, Any]) -> Iterator[Message]:
    """One step as messages: what was said or done, and what came back of it."""
    role = _ROLES[step["source"]]
    if role == "assistant" and step.get("is_copied_context"):
        return  # it was a step of an earlier trajectory, which this one goes on from
    calls = step.get("tool_calls") or []
    raw = {
        "role": role,
        "content": step.get("message"),
        "reasoning_content": step.get("reasoning_content"),
        "timestamp": step.get("timestamp"),
        "tool_calls": [
            {"id": call.get("tool_call_id"), "name": call["function_name"], "arguments": call.get("arguments")}
            for call in calls
        ],
    }
    yield from turns_of(raw)
    for result in (step.get("observation") or {}).get("results") or ():
        call_id = result.get("source_call_id")
        yield from turns_of({"role": "tool", "content": result.get("content"), "tool_call_id": call_id})
