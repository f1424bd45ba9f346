"""Law 10 at the importers: nothing that only the verifier and the simulated user knew reaches a trajectory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synde_pipeline.logs.reading import native_files, read_file, spread_over
from synde_pipeline_tests.helpers import SHARED, needs_shared
from synde_pipeline_tests.sample_logs import SAMPLE, TAU, TAU2


def leaves(value: Any) -> Iterator[str]:
    """All texts and numbers inside a JSON value, as texts."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def parsed(arguments: Any) -> Any:
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except json.JSONDecodeError:
        return arguments


def seen_by_agent(policy: str, messages: list[dict[str, Any]]) -> str:
    """Everything that was said to the agent, done by it or answered to it."""
    parts = [policy]
    for message in messages:
        parts.append(str(message.get("content") or ""))
        for call in message.get("tool_calls") or () if message["role"] == "assistant" else ():
            function = call.get("function", call)
            parts += [function["name"], *leaves(parsed(function["arguments"]))]
    return "\n".join(parts)


def hidden(instructions: Iterator[str], actions: list[dict[str, Any]], key: str, seen: str) -> list[str]:
    """Sentences of the hidden instruction, and expected arguments, that the agent never saw."""
    sentences = [part.strip() for text in instructions for part in re.split(r"(?<=[.!?])\s+", text)]
    values = [value for action in actions for value in leaves(action.get(key) or {})]
    # Short values are in any text by chance.
    return [text for text in {*sentences, *values} if len(text) >= 8 and text not in seen]


def secrets_of(document: Any) -> Iterator[tuple[str, list[str]]]:
    """(task number and trial, what its agent never saw) of each run in a native document."""
    if isinstance(document, list):
        for row in document:
            truth = row["info"]["task"]
            seen = seen_by_agent("", row["traj"])
            yield (
                f"{row['task_id']} {row['trial']}",
                hidden(leaves([truth["instruction"], truth["outputs"]]), truth["actions"], "kwargs", seen),
            )
        return
    tasks = {task["id"]: task for task in document["tasks"]}
    for row in document["simulations"]:
        task = tasks[row["task_id"]]
        seen = seen_by_agent(document["info"]["environment_info"]["policy"], row["messages"])
        actions = (task["evaluation_criteria"] or {}).get("actions") or []
        yield f"{row['task_id']} {row['trial']}", hidden(leaves(task["user_scenario"]), actions, "arguments", seen)


def leaks(path: Path) -> tuple[int, list[str]]:
    """How many secrets a file holds, and those which reached a trajectory of their own run."""
    items: dict[str, list[str]] = {}
    for item in read_file(path, rule=spread_over()).trajectories:
        run = f"{item.task_id.split(':')[2]} {item.trial}"
        # Arguments are JSON in the record: their plain values are compared too.
        plain = [value for step in item.steps for value in leaves(parsed(step.arguments))]
        items.setdefault(run, []).append("\n".join([*leaves(item.model_dump(mode="json")), *plain]))
    n_secrets, found = 0, []
    for run, secrets in secrets_of(json.loads(path.read_text("utf-8"))):
        n_secrets += len(secrets)
        found += [secret for secret in secrets for text in items.get(run, ()) if secret in text]
    return n_secrets, found


@pytest.mark.parametrize("path", [SAMPLE, TAU, TAU2], ids=lambda path: path.name)
def test_no_hidden_sentence_or_argument_of_our_own_logs_reaches_a_trajectory(path):
    n_secrets, found = leaks(path)
    assert n_secrets >= 12, "the test has nothing to find"
    assert found == []


@needs_shared
@pytest.mark.parametrize("folder", ["tau-bench", "tau2-bench"])
def test_no_hidden_sentence_or_argument_of_the_recorded_logs_reaches_a_trajectory(folder):
    n_secrets = 0
    for path in native_files(SHARED / folder):
        if path.suffix == ".json":
            n, found = leaks(path)
            n_secrets += n
            assert found == []
    assert n_secrets > 500


@pytest.mark.parametrize("path", [SAMPLE, TAU], ids=lambda path: path.name)
def test_other_ground_truth_in_a_tau_file_changes_nothing_but_the_hashed_identity(tmp_path, path):
    rows = json.loads(path.read_text("utf-8"))
    for row in rows:
        row["info"] = {"task": {"instruction": "marker-of-the-hidden"}, "reward_info": {"reward": "marker"}}
    other = tmp_path / path.name
    other.write_text(json.dumps(rows), "utf-8")
    assert visible(other) == visible(path)


def test_other_ground_truth_in_a_tau2_file_changes_nothing(tmp_path):
    document = json.loads(TAU2.read_text("utf-8"))
    document["tasks"] = [{"id": "marker-of-the-hidden"}]
    for row in document["simulations"]:
        if row["reward_info"]:
            row["reward_info"] = {"reward": row["reward_info"]["reward"], "action_checks": ["marker"]}
    other = tmp_path / TAU2.name
    other.write_text(json.dumps(document), "utf-8")
    assert visible(other) == visible(TAU2)


def visible(path: Path) -> list[dict[str, Any]]:
    """What the trajectories of a file say, but for identities that are hashes of the raw row."""
    items = read_file(path, rule=spread_over()).trajectories
    return [item.model_dump(exclude={"trace_uid"} if item.source == "tau-bench" else None) for item in items]
