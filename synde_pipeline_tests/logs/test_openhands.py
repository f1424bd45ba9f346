"""OpenHands: pairs of 2024, the flat history since, and where a benchmark's verdict may stand."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

NOTHING = {"message": "No observation", "observation": "null", "content": "", "extras": {}}


def said(source, text, at="2024-05-26T07:00:00"):
    return {"id": 0, "timestamp": at, "source": source, "message": text, "action": "message", "args": {"content": text}}


PAIRS = {
    "question_id": 7,
    "text": "use pick()",
    "correct": True,
    "hallucination": False,
    "answer_id": "None",
    "model_id": "small",
    "metadata": {
        "hub": "garden",
        "agent_class": "CodeActAgent",
        "model_name": "small-1",
        "start_time": "2024-05-26 06:59:00",
        "eval_output_dir": "evaluation/outputs/x/evaluation_outputs/outputs/berry/CodeActAgent/small",
    },
    "history": [
        [said("user", "Which call picks a berry?"), NOTHING],
        [said("agent", "pick()", "2024-05-26T07:00:05"), NOTHING],
        [said("user", "Finish if you are done."), NOTHING],
        [
            {"id": 9, "source": "agent", "action": "finish", "args": {"outputs": {}, "thought": ""}},
            {"observation": "null", "content": "", "extras": {}},
        ],
    ],
    "error": None,
}
FLAT = {
    "instance_id": "oak__garden-12",
    "instance": {"patch": "the gold patch", "hints_text": "a hidden hint"},
    "instruction": "Mend the gate.",
    "metadata": {"dataset": "some/SWE-bench_Lite", "llm_config": {"model": "small-2"}, "max_iterations": 30},
    "history": [
        {"id": 1, "source": "agent", "action": "system", "args": {"content": "You repair.", "tools": None}},
        {"id": 2, "source": "user", "action": "message", "args": {"content": "Mend the gate."}},
        {"id": 3, "source": "user", "action": "recall", "args": {"query": "Mend the gate."}},
        {"id": 4, "cause": 3, "observation": "recall", "content": "The garden lies in /garden.", "extras": {}},
        {
            "id": 5,
            "timestamp": "2025-01-02T03:04:05.5",
            "source": "agent",
            "action": "run",
            "args": {"command": "ls", "thought": "I look.", "is_input": False, "hidden": False, "cwd": None},
        },
        {"id": 6, "source": "agent", "action": "edit", "args": {"path": "gate.py", "thought": ""}},
        {"id": 8, "cause": 6, "source": "agent", "observation": "error", "content": "no such file"},
        {
            "id": 7,
            "cause": 5,
            "source": "agent",
            "observation": "run",
            "content": "gate",
            "extras": {"metadata": {"exit_code": 0}},
        },
        {"id": 9, "source": "environment", "observation": "agent_state_changed", "content": "", "extras": {}},
        {"id": 10, "source": "agent", "action": "think", "args": {"thought": "It is gate."}},
        {"id": 11, "source": "agent", "action": "run", "args": {"command": "sleep 999"}},
        {"id": 12, "cause": 11, "observation": "run", "content": "[still running]", "extras": {"exit_code": -1}},
        {"id": 13, "source": "agent", "action": "finish", "args": {"final_thought": "Done.", "task_completed": "true"}},
    ],
    "test_result": {"git_patch": "a patch", "report": {"resolved": False}},
    "metrics": {"accumulated_cost": 1},
    "error": None,
}


def test_pairs_of_action_and_observation_become_steps_and_the_benchmarks_verdict(tmp_path):
    found = read(tmp_path, [PAIRS, PAIRS | {"question_id": 8, "correct": False}], "output.jsonl")
    run, other = found.trajectories
    assert (found.format, run.task_id, run.domain, run.model) == (
        "openhands",
        "berry:berry:garden/7",
        "berry",
        "small-1",
    )
    assert (run.outcome, run.reward, run.label_source, other.outcome) == ("success", 1.0, "verifier", "failure")
    assert (run.task, run.started_at) == ("Which call picks a berry?", datetime(2024, 5, 26, 7, tzinfo=UTC))
    assert steps_of(run) == [
        ("", "", REPLY, "pick()", "Finish if you are done.", None),
        ("Finish if you are done.", "", "finish", '{"outputs":{}}', "", None),
    ]


def test_the_flat_history_joins_observations_to_their_causes_and_takes_success_from_exit_codes(tmp_path):
    (run,) = read(tmp_path, [FLAT], "output.jsonl").trajectories
    assert (run.task_id, run.scope, run.model) == (
        "swebench:software:oak__garden-12",
        "repository:oak/garden",
        "small-2",
    )
    assert (run.system, run.task, run.outcome, run.label_source) == (
        "You repair.",
        "Mend the gate.",
        "failure",
        "verifier",
    )
    assert steps_of(run) == [
        ("The garden lies in /garden.", "I look.", "run", '{"command":"ls","is_input":false}', "gate", True),
        ("", "", "edit", '{"path":"gate.py"}', "no such file", False),
        ("no such file\ngate", "It is gate.", "think", "{}", "", None),
        ("", "", "run", '{"command":"sleep 999"}', "[still running]", None),
        ("[still running]", "", "finish", '{"final_thought":"Done.","task_completed":"true"}', "", None),
    ]
    assert run.steps[0].timestamp == datetime(2025, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)
    assert not [secret for secret in ("gold patch", "hidden hint") if secret in run.canonical()]


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"report": {"resolved": True}, "test_result": {"git_patch": ""}}, "success"),
        ({"report": {"resolved": True}, "test_result": {"report": {"resolved": False}}}, "success"),
        ({"test_result": {"result": {"resolved": 1}}}, "success"),
        ({"test_result": {"resolved": 0}}, "failure"),
        ({"test_result": True}, "success"),
        ({"test_result": {"git_patch": "a patch"}}, "unknown"),
        ({"test_result": {}, "error": "the agent crashed"}, "unknown"),
        ({"test_result": {"exit_status": "submitted"}}, "unknown"),
    ],
)
def test_only_a_benchmarks_yes_or_no_is_an_outcome(tmp_path, values, outcome):
    (run,) = read(tmp_path, [FLAT | {"test_result": None} | values], "output.jsonl").trajectories
    assert (run.outcome, run.label_source) == (outcome, "none" if outcome == "unknown" else "verifier")


def test_one_run_alone_in_a_file_is_read_and_the_settings_beside_it_are_named(tmp_path):
    assert len(read(tmp_path, FLAT, "output.json").trajectories) == 1
    settings = {"agent_class": "CodeActAgent", "max_iterations": 30, "model_name": "small"}
    assert read(tmp_path, settings, "metadata.json").skipped == "OpenHands settings"


@given(st.data())
@pytest.mark.parametrize("run", [PAIRS, FLAT], ids=["pairs", "flat"])
def test_with_junk_anywhere_every_run_is_read_or_quarantined(tmp_path, run, data):
    found = read(tmp_path, [PAIRS, data.draw(mutated(run))])
    assert whole(found) == 2


@given(st.lists(any_json | st.fixed_dictionaries({"history": st.lists(any_json), "metadata": any_json}), max_size=3))
def test_any_json_beside_a_run_is_quarantined(tmp_path, rows):
    found = read(tmp_path, [PAIRS, *rows])
    assert whole(found) == 1 + len(rows)
