"""ReAct runs as text, with numbers and without, and what a model only imagined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import INVALID, REPLY
from synde_pipeline_tests.logs.junk import read, steps_of, whole

NUMBERED = """Question: Is bed 3 dry?
Thought 1: I look at
bed 3.
Action 1: Look[bed 3]
Observation 1: Moisture 2.
Thought 2: That is dry.
Action 2: Finish[yes]
Observation 2: Noted.

Question: Is bed 4 dry?
Thought 1: I look.
Action 1: Look[bed 9]
Observation 1: Error: no bed 9
"""
PLAIN = """Task: Water bed 3.
Thought: It is dry.
Action: water the bed
Action Input: {"litres": 3}
Observation: done
Thought: I now know the final answer
Final Answer: Bed 3 is watered.

It got 3 litres.
Observation: the member smiles
"""


def test_numbered_runs_are_split_at_their_questions(tmp_path):
    found = read(tmp_path, NUMBERED, "log.txt")
    assert found.format == "react-text"
    first, second = found.trajectories
    assert (first.task, first.domain, first.outcome) == ("Is bed 3 dry?", "react", "unknown")
    assert steps_of(first) == [
        ("", "I look at\nbed 3.", "Look", "bed 3", "Moisture 2.", None),
        ("Moisture 2.", "That is dry.", REPLY, "yes", "Noted.", None),
    ]
    assert steps_of(second) == [("", "I look.", "Look", "bed 9", "Error: no bed 9", False)]


def test_an_action_with_its_input_is_a_call_and_the_final_answer_ends_the_run(tmp_path):
    (run,) = read(tmp_path, PLAIN, "log.txt").trajectories
    assert steps_of(run) == [
        ("", "It is dry.", "water_the_bed", '{"litres":3}', "done", None),
        ("done", "I now know the final answer", REPLY, "Bed 3 is watered.\n\nIt got 3 litres.", "", None),
    ]


def test_an_action_as_json_is_a_call(tmp_path):
    text = 'Question: Dry?\nThought: I look.\nAction:\n```json\n{"action": "look", "action_input": {"bed": 3}}\n```\n'
    (run,) = read(tmp_path, text, "log.txt").trajectories
    assert [(one.tool, one.arguments) for one in run.steps] == [("look", '{"bed":3}')]


def test_a_number_that_comes_again_says_that_the_run_up_to_there_was_imagined(tmp_path):
    text = """Question: Is bed 3 dry?
Thought 1: I look.
Action 1: Look[bed 3]
Observation 1: Moisture 9.
Thought 2: Wet, so I drain it.
Action 2: Drain[bed 3]
Observation 2: drained
Observation 1: Moisture 2.
Thought 2: Dry.
Action 2: Finish[yes]
"""
    (run,) = read(tmp_path, text, "log.txt").trajectories
    assert steps_of(run) == [
        ("", "I look.", "Look", "bed 3", "Moisture 2.", None),
        ("Moisture 2.", "Dry.", REPLY, "yes", "", None),
    ]


def test_of_two_observations_of_one_action_the_last_is_the_environments(tmp_path):
    text = "Question: Dry?\nThought: I look.\nAction: Look[3]\nObservation: wet\nThought: So wet.\nObservation: dry\n"
    (run,) = read(tmp_path, text, "log.txt").trajectories
    assert steps_of(run) == [("", "I look.", "Look", "3", "dry", None)]


def test_a_turn_that_names_no_tool_is_an_invalid_step(tmp_path):
    text = "Question: Dry?\nThought: I look.\nAction: Look[3]\nObservation: dry\nThought: Hm.\n"
    (run,) = read(tmp_path, text, "log.txt").trajectories
    assert [(one.tool, one.arguments) for one in run.steps] == [("Look", "3"), (INVALID, "Hm.")]


@pytest.mark.parametrize("text", ["# Notes\nThought: a\nAction: b\n", "Question: what?\n", "Thought: a\nAction: b"])
def test_a_text_that_does_not_open_with_a_task_and_act_is_no_run(tmp_path, text):
    assert read(tmp_path, text, "log.txt").format is None


def test_many_spaces_and_many_labels_are_read_in_one_pass(tmp_path):
    text = PLAIN + "Question: b\nThought" + " " * 50_000 + "\n" + "Observation: x\nThought: y\nAction: z\n" * 5_000
    found = read(tmp_path, text, "log.txt")
    assert [len(run.steps) for run in found.trajectories] == [2, 5_000]


PIECES = st.sampled_from(["Thought", "Action", "Action Input", "Observation", "Final Answer", "Question", "Task", "x"])


@given(st.lists(st.tuples(PIECES, st.sampled_from(["", " 1", " 2", " 007"]), st.text(max_size=6)), max_size=12))
def test_any_labels_in_any_order_are_read_or_quarantined(tmp_path, pieces):
    text = PLAIN + "".join(f"{label}{number}: {words}\n" for label, number, words in pieces)
    found = read(tmp_path, text.encode("utf-8", "replace").decode(), "log.txt")
    assert found.format == "react-text"
    assert whole(found) >= 1
