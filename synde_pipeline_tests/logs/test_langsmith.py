"""LangSmith: runs that make up a trace, with messages as LangChain serialises them, and feedback."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.choices import AS_LOGGED, Choices, ScoreRule
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole


def lc(name, **values):
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": values}


HUMAN = lc("HumanMessage", content="Water bed 3.")
SYSTEM = lc("SystemMessage", content="You tend a garden.")
AI = lc("AIMessage", content="", tool_calls=[{"name": "water", "args": {"bed": 3}, "id": "c1", "type": "tool_call"}])
TOOL = lc("ToolMessage", content="no hose", tool_call_id="c1", status="error")


def run(run_id, second, kind, order="", **fields):
    return {
        "id": run_id,
        "name": run_id,
        "run_type": kind,
        "trace_id": "root",
        "dotted_order": f"20250301T1000{0:02}000000Zroot" + order,
        "parent_run_id": None if run_id == "root" else "root",
        "start_time": f"2025-03-01T10:00:{second:02}",
        "end_time": f"2025-03-01T10:00:{second + 1:02}",
        "status": "success",
        "error": None,
        **fields,
    }


def generation(message, text=""):
    return {"generations": [[{"text": text, "type": "ChatGeneration", "message": message}]], "llm_output": None}


# Not in the order of the trace, as exports are.
RUNS = [
    run(
        "tool", 3, "tool", ".20250301T100003Z3", name="water", inputs={"input": '{"bed": 3}'}, outputs={"output": TOOL}
    ),
    run(
        "root",
        0,
        "chain",
        name="AgentExecutor",
        inputs={"messages": [["user", "Water bed 3."]]},
        session_name="Garden help",
        feedback_stats={"quality": {"n": 2, "avg": 0.75}, "note": {"n": 1, "avg": None}},
    ),
    run(
        "first",
        1,
        "llm",
        ".20250301T100001Z1",
        inputs={"messages": [[SYSTEM, HUMAN]]},
        outputs=generation(AI),
        extra={"metadata": {"ls_model_name": "small-1"}},
    ),
    run(
        "last",
        5,
        "llm",
        ".20250301T100005Z4",
        inputs={"messages": [[SYSTEM, HUMAN, AI, TOOL]]},
        outputs=generation(lc("AIMessage", content="The hose is missing."), "The hose is missing."),
    ),
    run("look", 2, "retriever", ".20250301T100002Z2", inputs={"query": "x"}, outputs={"documents": []}),
]
STEPS = [
    ("", "", "water", '{"bed":3}', "no hose", False),
    ("no hose", "", REPLY, "The hose is missing.", "", None),
]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (RUNS, "runs.jsonl"),
        (RUNS, "runs.json"),
        ({"runs": RUNS, "cursors": {}}, "page.json"),
        ({**RUNS[1], "child_runs": [one for one in RUNS if one["id"] != "root"]}, "tree.json"),
    ],
    ids=["lines", "list", "answer of the API", "tree"],
)
def test_the_same_run_is_read_from_each_kind_of_export(tmp_path, content, name):
    found = read(tmp_path, content, name)
    (item,) = found.trajectories
    assert (found.format, item.trace_uid, item.domain, item.model) == (
        "langsmith",
        "langsmith:root",
        "garden_help",
        "small-1",
    )
    assert (item.system, item.task, item.outcome) == ("You tend a garden.", "Water bed 3.", "unknown")
    assert steps_of(item) == STEPS
    assert (item.started_at, item.ended_at) == tuple(datetime(2025, 3, 1, 10, 0, k, tzinfo=UTC) for k in (0, 6))


def test_plain_messages_and_parents_instead_of_an_order_are_read_too(tmp_path):
    plain = {"role": "user", "content": "Rake."}
    rows = [
        {"id": "b", "run_type": "llm", "trace_id": "a", "parent_run_id": "a", "start_time": "2025-03-01T10:00:01"},
        {"id": "a", "run_type": "chain", "trace_id": "a", "name": "Raker", "start_time": "2025-03-01T10:00:00"},
    ]
    rows[0] |= {
        "inputs": {"messages": [plain]},
        "outputs": {"choices": [{"message": {"role": "assistant", "content": "Ok."}}]},
    }
    (item,) = read(tmp_path, rows).trajectories
    assert (item.domain, item.task, steps_of(item)) == ("raker", "Rake.", [("", "", REPLY, "Ok.", "", None)])


def test_runs_of_one_example_tried_the_same_task(tmp_path):
    (item,) = read(tmp_path, [one | {"reference_example_id": "e-7"} for one in RUNS]).trajectories
    assert item.task_id == "langsmith:garden_help:e-7"


def test_a_tool_that_raised_is_a_failed_step_and_no_outcome(tmp_path):
    raised = RUNS[0] | {"outputs": None, "status": "error", "error": "HoseError()"}
    rows = [raised, *(one | {"inputs": {}} if one["id"] == "last" else one for one in RUNS[1:])]
    (item,) = read(tmp_path, rows).trajectories
    assert steps_of(item)[0] == ("", "", "water", '{"bed":3}', "HoseError()", False)
    assert steps_of(item)[1][0] == "HoseError()"
    assert item.outcome == "unknown"


def feedback(key, value, source="app", **more):
    return {"id": f"f-{key}", "run_id": "root", "key": key, "score": value, "feedback_source": {"type": source}} | more


@pytest.mark.parametrize(
    ("rows", "rule", "said"),
    [
        ([], None, ("unknown", "none", None)),
        ([], "score:quality>=0.5", ("success", "judge", 0.75)),
        ([], "score:note>=0.5", ("unknown", "none", None)),
        ([feedback("correct", True)], None, ("success", "human", 1.0)),
        ([feedback("correct", False, "api")], None, ("failure", "user", 0.0)),
        ([feedback("correct", False, "model"), feedback("solved", True)], None, ("success", "human", 1.0)),
        ([feedback("correct", 1)], None, ("unknown", "none", None)),
        ([feedback("correct", 1)], "score:correct>=1", ("success", "human", 1.0)),
        ([feedback("quality", 0.2)], "score:quality>=0.5", ("failure", "human", 0.2)),
        ([feedback("is_toxic", True)], None, ("unknown", "none", None)),
        ([feedback("is_toxic", True)], "score:is_toxic<=0", ("failure", "human", 1.0)),
        ([feedback("correct", None)], "score:correct>=1", ("unknown", "none", None)),
        ([feedback("correct", True, run_id="first", trace_id="root")], None, ("unknown", "none", None)),
    ],
)
def test_feedback_of_another_file_labels_the_trace_by_its_type_or_by_the_rule(tmp_path, rows, rule, said):
    (tmp_path / "runs.json").write_text(json.dumps(RUNS), "utf-8")
    if rows:
        (tmp_path / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    choices = Choices(outcome=ScoreRule.of(rule)) if rule else AS_LOGGED
    found = list(read_files(native_files(tmp_path), rule=spread_over(), choices=choices))
    (item,) = [item for one in found for item in one.trajectories]
    assert (item.outcome, item.label_source, item.reward) == said
    assert [one.skipped[:18] for one in found] == ["LangSmith feedback"] * bool(rows) + [""]


def test_answers_that_people_wrote_never_reach_a_run(tmp_path):
    rows = [one | {"reference_outputs": {"answer": "buy a hose"}} for one in RUNS]
    told = feedback("correct", False, correction={"answer": "buy a hose"}, comment="buy a hose")
    (tmp_path / "feedback.jsonl").write_text(json.dumps(told), "utf-8")
    (tmp_path / "runs.json").write_text(json.dumps(rows), "utf-8")
    found = list(read_files(native_files(tmp_path), rule=spread_over()))
    (item,) = [item for one in found for item in one.trajectories]
    assert item.outcome == "failure"
    assert "buy a hose" not in item.canonical()


@given(data=st.data())
def test_any_value_anywhere_costs_no_other_trace(tmp_path, data):
    other = [one | {"id": "o-" + one["id"], "trace_id": "o-root"} for one in RUNS]
    (kept,) = read(tmp_path, other).trajectories
    found = read(tmp_path, other + data.draw(mutated(RUNS)))
    assert kept.content_hash in {item.content_hash for item in found.trajectories}
    assert whole(found) >= 2


@given(inputs=any_json, outputs=any_json, stats=any_json)
def test_any_json_in_its_fields_is_read_or_quarantined(tmp_path, inputs, outputs, stats):
    rows = [one | {"inputs": inputs, "outputs": outputs, "feedback_stats": stats, "extra": stats} for one in RUNS]
    assert whole(read(tmp_path, rows)) >= 1
    whole(read(tmp_path, [feedback("x", stats)]))


@pytest.mark.parametrize("other", [[], [7], [{"trace_id": ["x"]}], [RUNS[0], 7]])
def test_a_list_among_runs_is_quarantined_and_costs_no_trace(tmp_path, other):
    found = read(tmp_path, [*RUNS, other])
    assert (len(found.trajectories), len(found.bad)) == (1, 1)
