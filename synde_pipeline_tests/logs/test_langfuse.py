"""Langfuse: traces, rows of observations in either spelling, and scores that lie elsewhere."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.choices import AS_LOGGED, Choices, ScoreRule
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

USER = {"role": "user", "content": "Water bed 3."}
SYSTEM = {"role": "system", "content": "You tend a garden."}
CALLS = {
    "role": "assistant",
    "content": "It is dry.",
    "tool_calls": [
        {"id": "c1", "function": {"name": "open_tap", "arguments": "{}"}},
        {"id": "c2", "function": {"name": "water", "arguments": '{"bed": 3}'}},
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "c1", "content": "open"},
    {"role": "tool", "tool_call_id": "c2", "content": "no hose"},
]


def seen(name, second, kind="SPAN", parent="root", **fields):
    """One observation as the API spells it."""
    return {
        "id": name,
        "traceId": "t-1",
        "parentObservationId": parent,
        "type": kind,
        "name": name,
        "startTime": f"2025-03-01T10:00:{second:02}.000Z",
        "endTime": f"2025-03-01T10:00:{second + 1:02}.000Z",
        "level": "DEFAULT",
        **fields,
    }


# Not in the order of their starts, as exports are.
OBSERVATIONS = [
    seen("second", 5, "GENERATION", input=json.dumps([SYSTEM, USER, CALLS, *RESULTS]), output="The hose is missing."),
    seen("root", 0, parent=None, input={"question": "Water bed 3, please"}) | {"name": "Garden help"},
    seen("running tool: water", 4, "TOOL", input={"bed": 3}, level="ERROR", statusMessage="no hose"),
    seen("first", 1, "GENERATION", input={"messages": [SYSTEM, USER]}, output=json.dumps(CALLS), model="small-1"),
    seen("open_tap", 3, input="{}", output="open"),
    seen("prompt", 2, input="x", output="y"),
]
TRACE = {"id": "t-1", "name": "Garden help", "timestamp": "2025-03-01T10:00:00.500Z", "input": None, "scores": []}
EXPORT = {"trace": TRACE, "observations": OBSERVATIONS}
STEPS = [
    ("", "It is dry.", "open_tap", "{}", "open", True),
    ("", "", "water", '{"bed":3}', "no hose", False),
    ("open\nno hose", "", REPLY, "The hose is missing.", "", None),
]


def snake(row):
    """The row as a blob export spells it."""
    spelled = {"".join("_" + sign.lower() if sign.isupper() else sign for sign in key): one for key, one in row.items()}
    for name in ("start_time", "end_time"):
        spelled[name] = spelled[name].replace("T", " ").removesuffix("Z") + "000"
    return spelled | {"trace_name": "Garden help", "provided_model_name": spelled.pop("model", None)}


def score(name, value, kind="NUMERIC", source="EVAL", **more):
    return {
        "id": f"s-{name}",
        "traceId": "t-1",
        "name": name,
        "value": value,
        "dataType": kind,
        "source": source,
    } | more


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (EXPORT, "trace.json"),
        (TRACE | {"observations": OBSERVATIONS}, "trace.json"),
        ([EXPORT], "traces.jsonl"),
        ({"data": OBSERVATIONS, "meta": {}}, "page.json"),
        ([snake(row) for row in OBSERVATIONS], "rows.jsonl"),
    ],
    ids=["export", "trace of the API", "traces as lines", "observations of the API", "observations of the blob export"],
)
def test_the_same_run_is_read_from_each_kind_of_export(tmp_path, content, name):
    found = read(tmp_path, content, name)
    (run,) = found.trajectories
    assert (found.format, run.trace_uid, run.domain, run.model) == (
        "langfuse",
        "langfuse:t-1",
        "garden_help",
        "small-1",
    )
    assert (run.system, run.task) == ("You tend a garden.", "Water bed 3.")
    assert steps_of(run) == STEPS
    assert run.started_at.replace(microsecond=0) == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert run.ended_at == datetime(2025, 3, 1, 10, 0, 6, tzinfo=UTC)
    assert run.outcome == "unknown"


def test_a_tool_that_no_generation_called_is_a_step_of_its_own(tmp_path):
    rows = [row for row in OBSERVATIONS if row["type"] != "GENERATION" or row["name"] == "second"]
    rows[0] = rows[0] | {"input": None}
    (run,) = read(tmp_path, EXPORT | {"observations": rows}, "trace.json").trajectories
    assert run.task == "Water bed 3, please"
    assert steps_of(run) == [
        ("", "", "water", '{"bed":3}', "no hose", False),
        ("no hose", "", REPLY, "The hose is missing.", "", None),
    ]


def test_two_recordings_of_one_call_are_one_call_and_a_generation_that_holds_several_is_none(tmp_path):
    inner = seen("inner", 1, "GENERATION", "first", input="system: You tend a garden.\nuser: Water bed 3.", output=None)
    outer = [row | {"input": "{}"} if row["id"] == "first" else row for row in OBSERVATIONS]
    above = seen("agent", 0, "GENERATION", output="The hose is missing.")
    under = [row | {"parentObservationId": "agent"} if row["type"] == "GENERATION" else row for row in [*outer, inner]]
    under[-1]["parentObservationId"] = "first"
    (run,) = read(tmp_path, EXPORT | {"observations": [above, *under]}, "trace.json").trajectories
    assert (run.system, run.task) == ("You tend a garden.", "Water bed 3.")
    assert steps_of(run) == STEPS


def test_a_second_agents_prompt_is_what_it_saw_and_no_answer_to_the_first_one(tmp_path):
    critic = seen("critic", 7, "GENERATION", input=[{"role": "user", "content": "Judge it."}], output="Fair.")
    (run,) = read(tmp_path, EXPORT | {"observations": [*OBSERVATIONS, critic]}, "trace.json").trajectories
    assert steps_of(run) == [*STEPS, ("Judge it.", "", REPLY, "Fair.", "", None)]


def test_earlier_turns_of_a_session_are_what_the_agent_saw_first(tmp_path):
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}, USER]
    rows = [seen("only", 1, "GENERATION", input=history, output={"role": "assistant", "content": "Done."})]
    (run,) = read(tmp_path, EXPORT | {"observations": rows}, "trace.json").trajectories
    assert run.task == "Water bed 3."
    assert steps_of(run) == [("user: Hello\nassistant: Hi.", "", REPLY, "Done.", "", None)]


def test_parents_in_a_circle_and_deep_nesting_are_read(tmp_path):
    circle = [seen("a", 1, "GENERATION", "b", input=[USER], output="x"), seen("b", 1, "GENERATION", "a", output="y")]
    deep = [seen(f"d{k}", 2, parent=f"d{k - 1}") for k in range(3000)]
    found = read(tmp_path, EXPORT | {"observations": circle + deep}, "trace.json")
    assert [(run.task, [one.arguments for one in run.steps]) for run in found.trajectories] == [("Water bed 3.", ["x"])]


def test_a_trace_without_texts_says_what_to_switch_on(tmp_path):
    rows = [row | {"input": None, "output": None} for row in OBSERVATIONS if row["type"] == "GENERATION"]
    found = read(tmp_path, {"trace": TRACE | {"input": "Water bed 3."}, "observations": rows}, "trace.json")
    assert (len(found.trajectories), found.trajectories[0].steps) == (1, ())
    assert [word.split(":")[0] for word in found.missing] == ["no answers in the observations"]


def test_the_evaluators_own_trace_is_no_run(tmp_path):
    found = read(tmp_path, EXPORT | {"trace": TRACE | {"environment": "langfuse-llm-as-a-judge"}}, "trace.json")
    assert (found.trajectories, len(found.bad)) == ([], 1)


# -- scores ------------------------------------------------------------------------------------------------------------


def outcome_with(tmp_path, scores, rule=None):
    """Outcome, giver and reward of the run, with the scores in a file of their own."""
    (tmp_path / "observations_v2").mkdir(parents=True, exist_ok=True)
    (tmp_path / "scores").mkdir(exist_ok=True)
    for folder, rows in (("observations_v2", map(snake, OBSERVATIONS)), ("scores", scores)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / folder / "0.jsonl").write_text(text, "utf-8")
    choices = Choices(outcome=ScoreRule.of(rule)) if rule else AS_LOGGED
    found = list(read_files(native_files(tmp_path), rule=spread_over(), choices=choices))
    (run,) = [run for one in found for run in one.trajectories]
    assert {one.path.parent.name: one.skipped[:15] for one in found} == {
        "observations_v2": "",
        "scores": "Langfuse scores",
    }
    return run.outcome, run.label_source, run.reward, [bad.reason for one in found for bad in one.bad]


HELD = score("correct", 1, "BOOLEAN", "API")
LATE = {"timestamp": "2025-03-02T00:00:00Z"}


@pytest.mark.parametrize(
    ("scores", "rule", "said"),
    [
        ([HELD], None, ("success", "user", 1.0)),
        ([score("correct", 0, "BOOLEAN", "EVAL")], None, ("failure", "judge", 0.0)),
        ([score("correct", False, "BOOLEAN", "ANNOTATION"), HELD], None, ("failure", "human", 0.0)),
        ([score("solved", 0, "BOOLEAN", "API", **LATE), HELD], None, ("failure", "user", 0.0)),
        ([score("solved", 0, "BOOLEAN", "API"), HELD], None, ("unknown", "none", None)),
        ([score("is_toxic", 1, "BOOLEAN")], None, ("unknown", "none", None)),
        ([score("is_toxic", 1, "BOOLEAN", "ANNOTATION"), HELD], None, ("success", "user", 1.0)),
        ([score("is_toxic", 1, "BOOLEAN")], "score:is_toxic<=0", ("failure", "judge", 1.0)),
        ([score("toxicity", 0.9)], None, ("unknown", "none", None)),
        ([score("toxicity", 0.9)], "score:toxicity<=0.5", ("failure", "judge", 0.9)),
        ([score("quality", 4, source="ANNOTATION"), HELD], "score:quality>=5", ("failure", "human", 4.0)),
        ([score("quality", 4, source="ANNOTATION"), HELD], "score:other>=5", ("success", "user", 1.0)),
        ([HELD | {"observationId": "first"}], None, ("unknown", "none", None)),
        ([HELD | {"observationId": "first"}], "score:correct=1", ("success", "user", 1.0)),
        ([score("mood", 0, "CATEGORICAL", stringValue="glad")], "score:mood>=0", ("unknown", "none", None)),
        ([HELD | {"traceId": None, "sessionId": "s"}], None, ("unknown", "none", None)),
        ([HELD | {"traceId": "t-2"}], None, ("unknown", "none", None)),
    ],
)
def test_a_score_of_another_file_labels_the_run_by_its_type_or_by_the_rule(tmp_path, scores, rule, said):
    assert outcome_with(tmp_path, scores, rule) == (*said, [])
    spelled = [
        {"trace_id" if k == "traceId" else "data_type" if k == "dataType" else k: v for k, v in one.items()}
        for one in scores
    ]
    assert outcome_with(tmp_path, spelled, rule) == (*said, [])


def test_scores_in_the_trace_itself_count_too(tmp_path):
    scored = EXPORT | {
        "trace": TRACE | {"scores": [score("correct", 1, "BOOLEAN", "ANNOTATION"), score("toxicity", 0)]}
    }
    (run,) = read(tmp_path, scored, "trace.json").trajectories
    assert (run.outcome, run.label_source, run.reward) == ("success", "human", 1.0)


def test_a_broken_score_is_told_and_costs_no_other_score(tmp_path):
    *said, reasons = outcome_with(tmp_path, [score("a", "many"), score("b", float("nan")), score("c", 10**400), HELD])
    assert said == ["success", "user", 1.0]
    assert len(reasons) == 1
    assert "3 labels cannot be read" in reasons[0]


def test_traces_alone_are_named_as_what_they_are(tmp_path):
    row = {
        "id": "t-1",
        "timestamp": "2025-03-01 10:00:00.0",
        "name": "x",
        "user_id": "",
        "session_id": "",
        "input": "",
        "output": "",
    }
    found = read(tmp_path, [row], "traces.jsonl")
    assert (found.skipped, found.bad) == ("Langfuse traces without observations", [])


# -- junk --------------------------------------------------------------------------------------------------------------

OTHER = [snake(row) | {"trace_id": "t-2"} for row in OBSERVATIONS]
ROWS = [snake(row) for row in OBSERVATIONS]


@given(data=st.data())
def test_any_value_anywhere_costs_no_other_trace(tmp_path, data):
    (kept,) = read(tmp_path, OTHER).trajectories
    found = read(tmp_path, OTHER + data.draw(mutated(ROWS)))
    assert kept.content_hash in {run.content_hash for run in found.trajectories}
    assert whole(found) >= 2
    export = data.draw(mutated(EXPORT | {"trace": TRACE | {"id": "t-2", "scores": [HELD]}}))
    assert whole(read(tmp_path, [EXPORT, export])) >= 2


@given(trace=any_json, rows=any_json, held=any_json)
def test_any_json_in_its_fields_is_read_or_quarantined(tmp_path, trace, rows, held):
    for row in (
        {"trace": trace, "observations": rows},
        {"trace": TRACE | {"id": "t-2", "scores": held}, "observations": OBSERVATIONS},
    ):
        assert whole(read(tmp_path, [EXPORT, row])) >= 2
    whole(read(tmp_path, [score("correct", held)]))
