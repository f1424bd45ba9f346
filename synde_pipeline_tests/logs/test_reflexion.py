"""Reflexion: text logs with runs that are listed twice, verdicts of trials, programs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

WRONG = """Question: Which bush is tallest?
Thought 1: I look up
the bushes.
Action 1: Search[bushes]
Observation 1: Three bushes.
One is tall.
Thought 2: It is the first.
Action 2: Finish[first]
Observation 2: Answer is INCORRECT
Correct answer: the hidden third
"""
LOG = f"""
########################################
BEGIN TRIAL 1
Trial summary: Correct: 1, Incorrect: 1, Halted: 1
#######################################
------------- BEGIN CORRECT AGENTS -------------

Question: Is the berry ripe?
Thought 1: I taste.
Action 1: Finish[yes]
Observation 1: Answer is CORRECT
Correct answer: yes indeed

------------- BEGIN INCORRECT AGENTS -----------

{WRONG}
------------- BEGIN HALTED AGENTS --------------

{WRONG}
Question: Who planted it?
Thought 1: I ask
Action 1: ask the gardener
Observation 1: Invalid Action.
Thought 2: Nobody knows.
Correct answer: the hidden gardener


########################################
BEGIN TRIAL 2
Trial summary: Correct: 0, Incorrect: 1, Halted: 0
#######################################
------------- BEGIN CORRECT AGENTS -------------

------------- BEGIN INCORRECT AGENTS -----------

{WRONG}
"""


def test_each_run_of_a_text_log_is_read_once_with_the_outcome_of_its_section(tmp_path):
    found = read(tmp_path, LOG, "trials.txt")
    assert (found.format, found.bad) == ("reflexion", [])
    assert [(run.trial, run.task, run.outcome, run.reward, run.label_source) for run in found.trajectories] == [
        (1, "Is the berry ripe?", "success", 1.0, "verifier"),
        (1, "Which bush is tallest?", "failure", 0.0, "verifier"),
        (1, "Who planted it?", "unknown", None, "none"),
        (2, "Which bush is tallest?", "failure", 0.0, "verifier"),
    ]
    assert found.trajectories[1].task_id == found.trajectories[3].task_id
    assert not [run for run in found.trajectories if "hidden" in run.canonical() or "Answer is" in run.canonical()]


def test_steps_are_thought_action_and_observation_over_as_many_lines_as_they_take(tmp_path):
    runs = read(tmp_path, LOG.replace("\n", "\r\n"), "trials.log").trajectories
    assert steps_of(runs[1]) == [
        ("", "I look up\nthe bushes.", "Search", '{"input":"bushes"}', "Three bushes.\nOne is tall.", None),
        ("Three bushes.\nOne is tall.", "It is the first.", "Finish", '{"input":"first"}', "", None),
    ]
    assert steps_of(runs[2]) == [
        ("", "I ask", "invalid", "ask the gardener", "Invalid Action.", None),
        ("Invalid Action.", "", "reply", "Nobody knows.", "", None),
    ]


def test_a_page_that_quotes_a_log_is_none(tmp_path):
    assert read(tmp_path, f"# How it looks\n{LOG}", "README.md").format is None


def test_a_section_without_a_run_and_a_run_without_an_action_are_not_lost(tmp_path):
    found = read(tmp_path, LOG + "\nQuestion: And now?\nThought 1: Who knows", "trials.txt")
    assert (len(found.trajectories), found.bad) == (5, [])
    found = read(tmp_path, LOG + "\nQuestion:\nAction 1: Finish[x]\n\nQuestion: What else?\n", "trials.txt")
    assert (len(found.trajectories), len(found.bad)) == (4, 2)


VERDICT = {"name": "env_2", "memory": ["I forgot the plate."], "is_success": False}


def test_verdicts_are_trials_by_their_file_and_say_what_they_lack(tmp_path):
    first = read(
        tmp_path, [VERDICT, VERDICT | {"name": "env_3", "is_success": True}], "alfworld_runs/env_results_trial_3.json"
    )
    again = read(tmp_path, [VERDICT], "alfworld_runs/env_results_trial_14.json")
    assert [(run.task_id, run.trial, run.outcome, run.steps) for run in first.trajectories] == [
        ("reflexion:household:env_2", 3, "failure", ()),
        ("reflexion:household:env_3", 3, "success", ()),
    ]
    assert again.trajectories[0].trial == 14
    assert again.trajectories[0].trace_uid != first.trajectories[0].trace_uid
    assert sum(first.missing.values()) == 2
    assert "I forgot" not in first.trajectories[0].canonical()


PROGRAM = {
    "name": "mbpp_7_pick",
    "prompt": "def pick():\n",
    "solution": "def pick():\n    return 1",
    "is_solved": True,
    "reflections": ["It was too slow.", "It was empty."],
    "test": "assert pick() == 1  # hidden",
    "entry_point": "pick",
}
HUMAN_EVAL = {
    "task_id": "HumanEval/7",
    "prompt": "def pick():\n",
    "solution": "",
    "is_solved": False,
    "canonical_solution": "return 1  # hidden",
    "test": "hidden",
    "entry_point": "pick",
}


def test_programs_are_handed_in_once_with_the_last_reflection_as_reasoning(tmp_path):
    found = read(tmp_path, [PROGRAM, HUMAN_EVAL], "mbpp.jsonl")
    solved, failed = found.trajectories
    assert (solved.task_id, solved.outcome) == ("mbpp:code:mbpp_7_pick", "success")
    code = json.dumps({"code": PROGRAM["solution"]}, separators=(",", ":"))
    assert steps_of(solved) == [("", "It was empty.", "submit", code, "", None)]
    assert (failed.task_id, failed.outcome, failed.domain) == ("humaneval:code:HumanEval/7", "failure", "code")
    assert not [run for run in found.trajectories if "hidden" in run.canonical()]


@pytest.mark.parametrize("rows", [[VERDICT], [PROGRAM]], ids=["verdict", "program"])
@given(st.data())
def test_with_junk_anywhere_every_row_is_read_or_quarantined(tmp_path, rows, data):
    name = "rows.jsonl" if rows[0] is PROGRAM else "env_results_trial_1.json"
    assert whole(read(tmp_path, [rows[0], data.draw(mutated(rows[0])), data.draw(any_json)], name)) == 3


@given(st.lists(st.sampled_from([*LOG.split("\n"), "", "\ufffd", "Action 9", "Observation 1:", "x" * 50]), max_size=40))
def test_any_lines_in_any_order_are_runs_or_quarantined(tmp_path, lines):
    found = read(tmp_path, LOG + "\n".join(lines), "trials.txt")
    assert whole(found) >= 4
