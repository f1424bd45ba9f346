"""ATIF trajectories, and the rewards that Harbor keeps beside them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole


def tool(call_id, name, **arguments):
    return {"tool_call_id": call_id, "function_name": name, "arguments": arguments}


RUN = {
    "schema_version": "ATIF-v1.6",
    "session_id": "s-1",
    "agent": {"name": "Garden-Bot", "version": "1", "model_name": "small"},
    "steps": [
        {"step_id": 1, "source": "system", "message": "You tend a garden."},
        {"step_id": 2, "timestamp": "2025-03-01T10:00:00Z", "source": "user", "message": "Water bed 3."},
        {
            "step_id": 3,
            "timestamp": "2025-03-01T10:00:05Z",
            "source": "agent",
            "message": [{"type": "text", "text": "I look first."}],
            "reasoning_content": "Is it dry?",
            "tool_calls": [tool("a", "look", bed=3), tool("b", "look", bed=4)],
            "observation": {
                "results": [{"source_call_id": "b", "content": "wet"}, {"source_call_id": "a", "content": "dry"}]
            },
            "metrics": {"cost_usd": 1},
        },
        {"step_id": 4, "timestamp": "2025-03-01T10:00:09Z", "source": "agent", "message": "Bed 3 is dry."},
    ],
    "final_metrics": {"total_steps": 4},
}


def test_a_trajectory_becomes_its_steps_and_has_no_outcome(tmp_path):
    found = read(tmp_path, RUN, "trajectory.json")
    (run,) = found.trajectories
    assert (found.format, run.trace_uid, run.domain, run.model) == ("atif", "atif:s-1", "garden_bot", "small")
    assert (run.system, run.task, run.outcome) == ("You tend a garden.", "Water bed 3.", "unknown")
    assert (run.started_at, run.ended_at) == tuple(datetime(2025, 3, 1, 10, 0, k, tzinfo=UTC) for k in (0, 9))
    assert steps_of(run) == [
        ("", "Is it dry?\nI look first.", "look", '{"bed":3}', "dry", None),
        ("", "", "look", '{"bed":4}', "wet", None),
        ("wet\ndry", "", REPLY, "Bed 3 is dry.", "", None),
    ]


def test_what_was_copied_from_an_earlier_trajectory_is_no_step_of_this_one(tmp_path):
    steps = [one | {"is_copied_context": True} if one["step_id"] == 3 else one for one in RUN["steps"]]
    (run,) = read(tmp_path, RUN | {"steps": steps}, "trajectory.json").trajectories
    assert [one.arguments for one in run.steps] == ["Bed 3 is dry."]


def trial(folder, name, rewards, session):
    for path, content in (
        (folder / name / "agent" / "trajectory.json", RUN | {"session_id": session}),
        (
            folder / name / "result.json",
            {
                "task_name": name.partition("__")[0],
                "trial_name": name,
                "verifier_result": None if rewards is None else {"rewards": rewards},
                "finished_at": "2025-03-01T10:01:00",
            },
        ),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")


def test_the_result_beside_a_run_labels_it_and_no_other_trials_run(tmp_path):
    trial(tmp_path, "water-bed__Ab12", {"reward": 1.0, "speed": 0.2}, "s1")
    trial(tmp_path, "water-bed__Cd34", {"tests": 0.0}, "s2")
    trial(tmp_path, "water-bed__Ef56", {"speed": 0.3, "style": 0.4}, "s3")
    trial(tmp_path, "rake-bed__Gh78", None, "s4")
    (tmp_path / "result.json").write_text(json.dumps({"n_total_trials": 4, "stats": {}}), "utf-8")
    found = list(read_files(native_files(tmp_path), rule=spread_over()))
    runs = {run.trace_uid: run for one in found for run in one.trajectories}
    said = {uid: (run.task_id.split(":")[2], run.outcome, run.reward, run.label_source) for uid, run in runs.items()}
    assert said == {
        "atif:s1": ("water-bed", "success", 1.0, "verifier"),
        "atif:s2": ("water-bed", "failure", 0.0, "verifier"),
        "atif:s3": ("water-bed", "unknown", None, "none"),
        "atif:s4": ("rake-bed", "unknown", None, "none"),
    }
    assert sum(one.skipped.startswith("Harbor result") for one in found) == 4


@pytest.mark.parametrize("reward", [2, "1", [1], float("nan")])
def test_a_reward_that_is_none_is_told_and_labels_nothing(tmp_path, reward):
    trial(tmp_path, "water-bed__Ab12", {"reward": reward}, "s1")
    found = list(read_files(native_files(tmp_path), rule=spread_over()))
    assert [run.outcome for one in found for run in one.trajectories] == ["unknown"]
    assert sum(len(one.bad) for one in found) == 1


@given(data=st.data())
def test_any_value_anywhere_costs_no_other_row(tmp_path, data):
    other = RUN | {"session_id": "s-2"}
    (kept,) = read(tmp_path, [other]).trajectories
    found = read(tmp_path, [other, data.draw(mutated(RUN))])
    assert whole(found) == 2
    assert found.trajectories[0].content_hash == kept.content_hash


@given(steps=any_json, agent=any_json)
def test_any_json_in_its_fields_is_read_or_quarantined(tmp_path, steps, agent):
    found = read(tmp_path, RUN | {"steps": steps, "agent": agent}, "trajectory.json")
    assert whole(found) == 1
