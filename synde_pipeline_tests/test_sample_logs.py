"""The committed sample logs are what the generator writes, and they hold what the other tests rely on."""

import json
from itertools import pairwise

import pytest

from synde_pipeline_tests.library_desk import KINDS, Case
from synde_pipeline_tests.sample_logs import SAMPLE, files, play, tau_sample


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_committed_file_is_what_the_generator_writes(path):
    assert path.read_text("utf-8") == files()[path], "run: python -m synde_pipeline_tests.sample_logs"


def test_the_sample_has_two_trials_of_ninety_tasks_and_stays_small():
    rows = json.loads(SAMPLE.read_text("utf-8"))
    assert sorted((row["task_id"], row["trial"]) for row in rows) == [(n, t) for n in range(90) for t in (0, 1)]
    assert SAMPLE.stat().st_size < 500_000
    assert 0.6 <= sum(row["reward"] for row in rows) / len(rows) <= 0.7


def test_every_agent_of_the_sample_acts_four_to_nine_times():
    for row in tau_sample():
        assert 4 <= sum(message["role"] == "assistant" for message in row["traj"]) <= 9


def test_every_kind_of_request_succeeds_in_some_trials_and_fails_in_others():
    for kind in KINDS:
        rewards = {row["reward"] for row in tau_sample() if Case(row["task_id"]).kind == kind}
        assert rewards == {0.0, 1.0}, kind


def test_the_verifier_is_pleased_by_the_expected_writes_only():
    talk = next(talk for number in range(9) if (talk := play(number, 0)).reward)
    before = talk.reward
    talk.desk.writes.append(("pay_fine", {"amount": 1.0}))
    assert (before, talk.reward) == (1.0, 0.0)


def test_some_agents_repeat_a_failing_call_unchanged():
    repeated = 0
    for row in tau_sample():
        calls = [(m["name"], m["content"]) for m in row["traj"] if m["role"] == "tool"]
        repeated += any(first == second and first[1].startswith("Error") for first, second in pairwise(calls))
    assert repeated >= 10
