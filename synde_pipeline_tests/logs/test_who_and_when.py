"""Who&When: a group's turns, code that its terminal ran, and the step that a person blamed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

QUESTION = "How many berries are ripe?"
CODE = "I count.\n\n```python\nprint(ripe())\n```"


def turn(name, content, role="user"):
    return {"content": content, "role": role, "name": name}


RUN = {
    "is_correct": False,
    "question": QUESTION,
    "question_ID": "q-1",
    "level": "1",
    "ground_truth": "the hidden seven",
    "history": [
        turn("Berry_Expert", f"You are given a task.\n{QUESTION}", "assistant"),
        turn("Berry_Expert", CODE, "assistant"),
        turn("Computer_terminal", "exitcode: 1 (execution failed)\nCode output: no ripe()"),
        turn("Count_Expert", "Let me guess: six."),
        turn("Computer_terminal", "There is no code from the last 1 message for me to execute."),
        turn("Count_Expert", "TERMINATE"),
    ],
    "mistake_agent": "Count_Expert",
    "mistake_step": "3",
    "mistake_reason": "It guessed.",
    "system_prompt": {"Berry_Expert": "You know berries.", "Count_Expert": "You count."},
}
BY_HAND = {
    "question": QUESTION,
    "question_ID": "q-2",
    "groundtruth": "the hidden seven",
    "history": [
        {"role": "human", "content": QUESTION},
        {"role": "Orchestrator (thought)", "content": "First a look."},
        {"role": "Orchestrator (-> WebSurfer)", "content": "Look at the bushes."},
        {"role": "WebSurfer", "content": "They are red."},
    ],
    "mistake_agent": "Orchestrator",
    "mistake_step": "1",
    "mistake_reason": "Wrong bushes.",
}


def test_a_groups_turns_are_steps_and_the_blamed_one_failed(tmp_path):
    found = read(tmp_path, RUN, "1.json")
    (run,) = found.trajectories
    assert (found.format, run.task_id, run.task) == ("who-and-when", "who-and-when:general_assistance:q-1", QUESTION)
    assert (run.outcome, run.reward, run.label_source) == ("failure", 0.0, "verifier")
    assert run.system == "# Berry_Expert\nYou know berries.\n\n# Count_Expert\nYou count."
    ran, none = RUN["history"][2]["content"], RUN["history"][4]["content"]
    code = json.dumps({"code": "print(ripe())", "language": "python"}, separators=(",", ":"))
    assert steps_of(run) == [
        (RUN["history"][0]["content"], "I count.", "run_code", code, ran, False),
        (ran, "", REPLY, "Let me guess: six.", none, False),
        (none, "", REPLY, "TERMINATE", "", None),
    ]
    assert "hidden seven" not in run.canonical()


def test_a_thought_belongs_to_the_turn_after_it_and_takes_its_blame(tmp_path):
    (run,) = read(tmp_path, BY_HAND, "1.json").trajectories
    assert (run.outcome, run.reward, run.label_source) == ("failure", None, "human")
    assert steps_of(run) == [
        ("", "First a look.", REPLY, "Look at the bushes.", "", False),
        ("", "", REPLY, "They are red.", "", None),
    ]


@pytest.mark.parametrize(("mistake", "blamed"), [("0", None), ("1", 0), ("2", 0), ("4", 1), ("5", 2), ("99", 2)])
def test_a_mistake_is_the_turns_own_or_that_of_the_turn_it_answers(tmp_path, mistake, blamed):
    worked = [
        turn("A", "x"),
        turn("A", "y"),
        turn("Computer_terminal", "z"),
        turn("A", "v"),
        turn("Computer_terminal", "w"),
        turn("A", "u"),
    ]
    (run,) = read(tmp_path, RUN | {"history": worked, "mistake_step": mistake}, "1.json").trajectories
    assert [step.index for step in run.steps if step.success is False] == ([] if blamed is None else [blamed])


@given(st.data())
@pytest.mark.parametrize("run", [RUN, BY_HAND], ids=["generated", "by hand"])
def test_with_junk_anywhere_every_run_is_read_or_quarantined(tmp_path, run, data):
    found = read(tmp_path, [RUN, data.draw(mutated(run))], "runs.jsonl")
    assert whole(found) == 2


@given(st.lists(any_json, max_size=3))
def test_any_json_beside_a_run_is_quarantined(tmp_path, rows):
    assert whole(read(tmp_path, [RUN, *rows], "runs.jsonl")) == 1 + len(rows)
