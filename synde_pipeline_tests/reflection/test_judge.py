"""Judges of runs whose outcome nobody logged: signs of the end, uncertain means failure, the label is never seen."""

import pytest
from hypothesis import given

from synde_pipeline.records import Trajectory
from synde_pipeline.reflection.judge import JudgeAnswer, judge_by_rules, judge_request, judgement_of
from synde_pipeline.reflection.reflector import reflector
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import ReflectionConfig, TrainingConfig
from synde_pipeline.training.examples import examples_of
from synde_pipeline_tests.helpers import called, trajectories, trajectory

DONE = ("renew", {"card": 1}, "renewed", True)
THANKS = ("reply", "It is renewed.", "Thank you, that's all!", None)


def judged(*calls) -> tuple[str, str]:
    return judge_by_rules(trajectory(outcome="unknown", steps=called(*calls)))


@pytest.mark.parametrize(
    "calls",
    [
        [DONE, THANKS],
        [("find", {"name": "x"}, "Error", False), ("find", {"title": "x"}, "ok", True), DONE, THANKS],
        [("reply", "Shall I?", "Yes, please.", None), DONE, ("reply", "Done.", "###STOP###", None)],
        [DONE, THANKS, ("reply", "You are welcome.", "###STOP###", None)],
    ],
    ids=["thanks", "mended", "agreed", "mark"],
)
def test_a_run_succeeded_if_the_user_says_so_and_nothing_speaks_against_it(calls):
    assert judged(*calls).outcome == "success"


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([], "did nothing"),
        ([("renew", {}, "Error: no card", False), THANKS], "last call, renew, failed"),
        ([("transfer_to_human", {}, "ok", True), THANKS], "gave the task away"),
        ([("find", "x", "Error", False)] * 2 + [DONE, THANKS], "repeated a call"),
        ([("find", f"{k}", "Error", False) for k in range(3)] + [DONE, THANKS], "2 calls failed"),
        ([THANKS, DONE], "never got an answer"),
        ([DONE, ("reply", "Shall I renew it?", "Yes, please.", None)], "wish was not answered"),
        ([DONE, ("reply", "Done.", "That is not what I asked for, forget it.", None)], "complained"),
        ([DONE, ("reply", "I am sorry, I cannot do that.", "Thanks anyway.", None)], "apologised"),
        ([DONE, ("reply", "Done.", "Hm.", None)], "did not confirm"),
        ([DONE], "Nobody says"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_is_uncertain_is_a_failure(calls, why):
    found = judged(*calls)
    assert found.outcome == "failure"
    assert why in found.why


@given(trajectories())
def test_the_rule_judge_never_looks_at_the_label(item):
    changed = {"outcome": "unknown", "label_source": "none", "reward": None}
    assert judge_by_rules(item) == judge_by_rules(item.model_copy(update=changed))


def read(item: Trajectory, answer: str = "", **values):
    asked = []

    def ask(request):
        asked.append(request)
        return JudgeAnswer(reasons="because", status=answer)

    return reflector(ReflectionConfig(**values), ask)(item), asked


UNKNOWN = trajectory(task="t3", outcome="unknown", steps=called(DONE, THANKS))


@pytest.mark.parametrize(
    ("status", "outcome"), [("success", "success"), ("failure", "failure"), ("uncertain", "failure")]
)
def test_a_model_may_judge_and_what_it_is_not_sure_of_is_a_failure(status, outcome):
    found, asked = read(UNKNOWN, status, judge="llm")
    assert (found.outcome, found.label_source) == (outcome, "judge")
    (request,) = asked
    assert request == judge_request(UNKNOWN, ReflectionConfig())
    assert judgement_of(JudgeAnswer(reasons="because", status=status)).outcome == outcome


def test_only_unknown_outcomes_are_judged_and_only_where_a_judge_is_wanted():
    for item in (trajectory(task="t3", outcome=outcome) for outcome in ("success", "failure", "partial")):
        assert read(item, judge="llm") == (reflect(item), [])
    assert read(UNKNOWN, judge="off") == (reflect(UNKNOWN), [])
    assert read(UNKNOWN, judge="off")[0].label_source == "none"


def test_a_judged_outcome_reaches_the_training_examples_and_the_log_stays_as_it_is():
    found, _ = read(UNKNOWN, judge="rules")
    assert (found.outcome, found.label_source, UNKNOWN.outcome) == ("success", "judge", "unknown")
    rows = examples_of(UNKNOWN, found, TrainingConfig())
    assert [row["metadata"]["signal"] for row in rows] == ["imitate", "imitate"]
    assert {row["metadata"]["outcome"] for row in rows} == {"success"}
    assert examples_of(UNKNOWN, reflect(UNKNOWN), TrainingConfig()) == []


def test_a_judged_failure_blames_a_step_only_if_it_failed():
    calm = trajectory(task="t3", outcome="unknown", steps=called(DONE))
    found, _ = read(calm, judge="rules")
    assert (found.outcome, found.error_step, found.root_cause) == ("failure", None, "")
    assert "avoid" not in {row["metadata"]["signal"] for row in examples_of(calm, found, TrainingConfig())}
    broken, _ = read(
        trajectory(outcome="unknown", steps=called(DONE, ("file", {}, "Error: full", False))), judge="rules"
    )
    assert broken.error_step == 1
    assert "failed" in broken.root_cause
