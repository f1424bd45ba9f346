"""Judgements in spans: which are an outcome, which wait for a rule, and who gave them; evaluation sets of ADK."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.choices import Choices, ScoreRule
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole
from synde_pipeline_tests.logs.span_logs import current, nanoseconds, otlp, pairs

CORRECT = Choices(outcome=ScoreRule.of("score:correct>=0.5"))


def annotated(place, at, *annotations):
    """A run whose span (0 is the first call, -1 the root) carries annotations."""
    spans = current()
    for k, values in enumerate(annotations):
        for key, value in values.items():
            spans[at]["attributes"][f"{place}.{k}.annotation.{key}"] = value
    return otlp(spans)


def note(kind, label="", score=None, name="correct"):
    values = {"name": name, "annotator_kind": kind, "label": label, "score": score}
    return {key: value for key, value in values.items() if value not in (None, "")}


@pytest.mark.parametrize(
    ("document", "outcome", "source"),
    [
        (annotated("annotations", -1, note("HUMAN", "correct")), "success", "human"),
        (annotated("annotations", -1, note("LLM", "Incorrect")), "failure", "judge"),
        (annotated("annotations", -1, note("CODE", "pass")), "success", "verifier"),
        (annotated("trace.annotations", 0, note("HUMAN", "thumbs-down")), "failure", "human"),
        (annotated("annotations", -1, note("LLM", "pass"), note("HUMAN", "fail")), "failure", "human"),
        (annotated("annotations", -1, note("LLM", "pass"), note("CODE", "partially correct")), "partial", "verifier"),
        (annotated("annotations", -1, note("HUMAN", "pass"), note("HUMAN", "fail")), "unknown", "none"),
        (annotated("annotations", 0, note("HUMAN", "correct")), "unknown", "none"),
        (annotated("session.annotations", -1, note("HUMAN", "correct")), "unknown", "none"),
        (annotated("annotations", -1, note("HUMAN", "relevant", 1.0)), "unknown", "none"),
        (annotated("annotations", -1, note("", "correct")), "unknown", "none"),
        (annotated("annotations", -1, note("HUMAN", "pass", name="toxicity")), "unknown", "none"),
        (annotated("annotations", -1, note("HUMAN", "fail", name="tool correctness")), "unknown", "none"),
        (annotated("annotations", -1, note("HUMAN", "fail", name="TaskSuccess")), "failure", "human"),
        (annotated("annotations", -1, note("HUMAN", score=1.0)), "unknown", "none"),
    ],
)
def test_a_plain_word_about_the_whole_run_is_an_outcome_with_its_giver(tmp_path, document, outcome, source):
    (run,) = read(tmp_path, document, "spans.json").trajectories
    assert (run.outcome, run.label_source) == (outcome, source)
    assert run.reward == {"success": 1.0, "failure": 0.0, "partial": 0.5, "unknown": None}[outcome]


@pytest.mark.parametrize(
    ("document", "outcome", "source"),
    [
        (annotated("annotations", -1, note("HUMAN", score=0.7)), "success", "human"),
        (annotated("annotations", -1, note("CODE", score=0.2)), "failure", "verifier"),
        (annotated("annotations", 0, note("LLM", score=0.7)), "success", "judge"),
        (annotated("annotations", 0, note("", score="0.7")), "success", "judge"),
        (annotated("annotations", 0, note("LLM", score=0.7), note("LLM", score=0.2)), "unknown", "none"),
        (annotated("annotations", -1, note("LLM", score=0.7, name="polite")), "unknown", "none"),
        (annotated("annotations", -1, note("LLM", score=float("inf"))), "unknown", "none"),
        (annotated("annotations", -1, note("LLM", "fail", 0.9)), "failure", "judge"),
    ],
)
def test_a_score_is_an_outcome_by_a_persons_rule_alone(tmp_path, document, outcome, source):
    (run,) = read(tmp_path, document, "spans.json", choices=CORRECT).trajectories
    assert (run.outcome, run.label_source) == (outcome, source)


def test_a_score_of_the_run_outranks_those_of_its_spans(tmp_path):
    spans = current()
    for at, score in ((0, 0.9), (-1, 0.1)):
        spans[at]["attributes"] |= {"annotations.0.annotation.name": "correct", "annotations.0.annotation.score": score}
    (run,) = read(tmp_path, otlp(spans), "spans.json", choices=CORRECT).trajectories
    assert (run.outcome, run.reward) == ("failure", 0.1)


def test_annotations_as_phoenix_exports_them_beside_the_attributes_count(tmp_path):
    spans = [
        {
            "name": one["name"],
            "context": {"trace_id": "t1", "span_id": f"s{one['id']}"},
            "parent_id": f"s{one['parent']}" if one["parent"] else None,
            "start_time": int(nanoseconds(one["start"])),
            "attributes": one["attributes"],
        }
        for one in current()
    ]
    spans[-1]["annotations"] = [
        {"name": "correct", "annotator_kind": "HUMAN", "result": {"label": "correct", "score": 1}}
    ]
    (run,) = read(tmp_path, spans, "spans.json").trajectories
    assert (run.outcome, run.label_source) == ("success", "human")


def evaluation(value, label="", at=9):
    values = {"gen_ai.evaluation.name": "correct", "gen_ai.evaluation.score.value": value}
    return {
        "name": "gen_ai.evaluation.result",
        "attributes": values | ({"gen_ai.evaluation.score.label": label} if label else {}),
    }


@pytest.mark.parametrize(
    ("value", "label", "outcome"), [(0.8, "", "success"), (0.1, "pass", "failure"), (None, "pass", "success")]
)
def test_evaluation_events_are_scores_by_their_value_else_by_their_label(tmp_path, value, label, outcome):
    spans = current()
    event = evaluation(value, label)
    if value is None:
        del event["attributes"]["gen_ai.evaluation.score.value"]
    spans[3]["events"] = [event]
    document = otlp(spans)
    assert read(tmp_path, document, "spans.json").trajectories[0].outcome == "unknown"
    (run,) = read(tmp_path, document, "spans.json", choices=CORRECT).trajectories
    assert (run.outcome, run.label_source) == (outcome, "judge")


def test_evaluations_in_a_file_of_their_own_reach_the_traces_of_another(tmp_path):
    record = {
        "traceId": "t1",
        "spanId": "s5",
        "timeUnixNano": nanoseconds(9),
        "eventName": "gen_ai.evaluation.result",
        "attributes": pairs(evaluation(0.9)["attributes"]),
    }
    logs = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [record]}]}]}
    (tmp_path / "logs.json").write_text(json.dumps(logs), "utf-8")
    (tmp_path / "spans.json").write_text(json.dumps(otlp(current())), "utf-8")
    found = {one.path.name: one for one in read_files(native_files(tmp_path), rule=spread_over(), choices=CORRECT)}
    assert (found["logs.json"].skipped, found["logs.json"].bad) == ("evaluations of traces", [])
    assert [(run.outcome, run.reward) for run in found["spans.json"].trajectories] == [("success", 0.9)]


CASES = {
    "eval_set_id": "garden_set",
    "name": "Garden",
    "eval_cases": [
        {
            "eval_id": "dry",
            "session_input": {"app_name": "Garden App", "user_id": "u"},
            "creation_timestamp": 1700000000.5,
            "conversation": [
                {
                    "invocation_id": "i1",
                    "user_content": {"role": "user", "parts": [{"text": "Is bed 3 dry?"}]},
                    "final_response": {"role": "model", "parts": [{"text": "Yes."}]},
                    "intermediate_data": {
                        "tool_uses": [{"name": "look", "args": {"bed": 3}, "id": "a"}],
                        "tool_responses": [
                            {"name": "look", "id": "a", "response": {"isError": True, "content": [{"text": "mud"}]}}
                        ],
                    },
                },
                {"user_content": {"parts": [{"text": "Thanks."}]}, "final_response": {"parts": [{"text": "Bye."}]}},
            ],
        }
    ],
}


def test_a_case_of_an_evaluation_set_is_a_run_that_nobody_judged(tmp_path):
    found = read(tmp_path, CASES, "set.json")
    (run,) = found.trajectories
    assert (found.format, run.trace_uid, run.domain) == ("adk-eval-set", "adk-eval-set:garden_set:dry", "garden_app")
    assert (run.task, run.outcome, run.started_at.timestamp()) == ("Is bed 3 dry?", "unknown", 1700000000.5)
    assert steps_of(run) == [
        ("", "", "look", '{"bed":3}', "mud", False),
        ("mud", "", REPLY, "Yes.", "Thanks.", None),
        ("Thanks.", "", REPLY, "Bye.", "", None),
    ]


@given(st.data())
def test_with_junk_anywhere_a_case_is_read_or_quarantined(tmp_path, data):
    case = data.draw(mutated(CASES["eval_cases"][0]))
    assert whole(read(tmp_path, CASES | {"eval_cases": [case, data.draw(any_json)]}, "set.json")) == 2


@given(st.data())
def test_with_junk_in_judgements_a_trace_is_read_or_quarantined(tmp_path, data):
    spans = current()
    for key in ("name", "score", "label", "annotator_kind"):
        spans[-1]["attributes"][f"annotations.0.annotation.{key}"] = data.draw(any_json)
    spans[3]["events"] = [data.draw(mutated(evaluation(0.5, "pass")))]
    try:
        document = otlp(spans)
    except (TypeError, KeyError, AttributeError):  # what the encoder cannot write no reader meets
        return
    assert whole(read(tmp_path, document, "spans.json", choices=CORRECT)) == 1
