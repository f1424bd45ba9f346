"""OpenTelemetry spans: whatever the convention and the encoding, the same run; and what their content may lack."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import JUNK, any_json, mutated, read, steps_of, whole
from synde_pipeline_tests.logs.span_logs import (
    CONVENTIONS,
    ENCODINGS,
    STEPS,
    SYSTEM,
    TASK,
    current,
    openinference,
    otlp,
    otlp_span,
    pairs,
    run,
    span,
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_in_every_convention_and_encoding_the_run_is_the_same(tmp_path, convention, encoding):
    found = read(tmp_path, ENCODINGS[encoding](CONVENTIONS[convention]()), "spans.json")
    (one,) = found.trajectories
    assert (found.format, found.bad, one.trace_uid, one.domain) == ("otel", [], "otel:t1", "garden_desk")
    assert (one.system, one.task, one.model) == (SYSTEM, TASK, "small")
    assert steps_of(one) == STEPS
    assert (one.started_at, one.ended_at) == tuple(datetime(2023, 11, 14, 22, 13, s, tzinfo=UTC) for s in (20, 28))
    assert (one.outcome, one.label_source, one.reward) == ("unknown", "none", None)


def test_the_same_task_has_the_same_id_in_another_trace_and_another_convention(tmp_path):
    a = read(tmp_path, otlp(current(), "t1"), "a.json").trajectories[0]
    b = read(tmp_path, otlp(openinference(), "t2"), "b.json").trajectories[0]
    assert (a.task_id, a.trace_uid) == (b.task_id, "otel:t1")
    assert b.trace_uid == "otel:t2"


def test_spans_of_a_trace_are_one_run_wherever_they_stand_in_a_file(tmp_path):
    spans = current()
    lines = [otlp(spans[:2], "t1"), otlp(current(), "t2"), otlp(spans[2:], "t1")]
    found = read(tmp_path, lines, "traces.jsonl")
    assert {one.trace_uid: steps_of(one) for one in found.trajectories} == {"otel:t1": STEPS, "otel:t2": STEPS}


def test_spans_without_ids_are_runs_of_their_own(tmp_path):
    bare = [{"name": "chat", "attributes": pairs(one["attributes"])} for one in (current()[0], current()[3])]
    found = read(tmp_path, bare, "spans.json")
    first, second = found.trajectories
    assert first.trace_uid != second.trace_uid
    assert [one.tool for one in first.steps] == ["look", "smell"]
    assert [one.tool for one in second.steps] == ["look", "smell", REPLY]
    assert found.n_undated == 2


def test_a_trace_without_a_model_or_an_agent_is_quarantined_beside_one_that_has(tmp_path):
    noise = span(1, 0, "GET /", 0, 1, {"http.method": "GET"})
    found = read(tmp_path, [otlp(current()), otlp([noise], "t9")], "traces.jsonl")
    assert (len(found.trajectories), [bad.reason for bad in found.bad]) == (
        1,
        ["no span of a language model or an agent in this trace"],
    )
    assert read(tmp_path, otlp([noise]), "noise.json").format is None


def test_what_one_call_says_at_two_levels_is_said_once(tmp_path):
    spans = current()
    outer = span(6, 1, "call_llm", 1, 2, spans[0]["attributes"])
    inner = spans[0] | {"parent": 6}
    whole_agent = spans[-1] | {"attributes": spans[-1]["attributes"] | spans[3]["attributes"]}
    (one,) = read(tmp_path, otlp([outer, inner, *spans[1:4], whole_agent]), "spans.json").trajectories
    assert steps_of(one) == STEPS


def test_a_call_that_runs_its_tools_inside_itself_keeps_its_words_beside_those_of_a_second_agent(tmp_path):
    spans = current()
    outer = spans[3] | {"id": 7, "start": 0, "end": 8}
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "3"}]}])
    inner = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": asked, "gen_ai.output.messages": '["dry"]'}
    tools = [spans[1] | {"parent": 7}, spans[2] | {"parent": 7}, span(8, 3, "chat", 3, 4, inner)]
    (one,) = read(tmp_path, otlp([outer, *tools]), "spans.json").trajectories
    assert (one.task, [step.tool for step in one.steps]) == (TASK, ["look", "smell", REPLY, REPLY])
    assert [step.arguments for step in one.steps[2:]] == ["dry", "Bed 3 is dry."]


def test_an_agent_that_alone_has_content_around_its_tools_is_read(tmp_path):
    spans = current()
    agent = spans[-1] | {
        "attributes": spans[-1]["attributes"]
        | {"gen_ai.input.messages": spans[0]["attributes"]["gen_ai.input.messages"]}
        | {"gen_ai.output.messages": spans[3]["attributes"]["gen_ai.output.messages"]}
    }
    (one,) = read(tmp_path, otlp([*spans[1:3], agent]), "spans.json").trajectories
    assert [(step.tool, step.success) for step in one.steps] == [("look", True), ("smell", False), (REPLY, None)]


def test_content_that_was_not_captured_is_said_with_the_remedy(tmp_path):
    spans = run(
        {}, {}, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look"}, {"gen_ai.tool.name": "x"}
    )
    found = read(tmp_path, [otlp(spans), otlp(spans, "t2")], "traces.jsonl")
    a, b = found.trajectories
    assert (a.task, a.task_id != b.task_id) == ("invoke_agent gardener [content was not captured]", True)
    assert [(one.tool, one.arguments, one.success) for one in a.steps] == [("look", "{}", True)]
    ((word, times),) = found.missing.items()
    assert (times, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" in word) == (2, True)


def test_hidden_content_of_openinference_is_no_content(tmp_path):
    hidden = [one | {"attributes": _hidden(one["attributes"])} for one in openinference()]
    (one,) = read(tmp_path, otlp(hidden), "spans.json").trajectories
    assert "REDACTED" not in one.canonical()
    assert one.task.endswith("[content was not captured]")


def _hidden(attributes):
    ends = ("content", ".text", "input.value", "output.value", "arguments")
    return {key: "__REDACTED__" if key.endswith(ends) else value for key, value in attributes.items()}


def test_a_users_word_that_comes_twice_is_seen_twice(tmp_path):
    def chat(number, *said):
        messages = [{"role": role, "content": text} for role, text in said]
        values = {
            "gen_ai.input.messages": json.dumps(messages[:-1]),
            "gen_ai.output.messages": json.dumps(messages[-1:]),
        }
        return span(number, 0, "chat", number, number, {"gen_ai.operation.name": "chat"} | values)

    talk = [
        ("user", "go"),
        ("assistant", "ok"),
        ("user", "go"),
        ("assistant", "ok"),
        ("user", "end"),
        ("assistant", "bye"),
    ]
    (one,) = read(tmp_path, otlp([chat(k, *talk[: 2 * k]) for k in (1, 2, 3)]), "spans.json").trajectories
    assert [(step.state, step.arguments) for step in one.steps] == [("", "ok"), ("go", "ok"), ("end", "bye")]


def test_a_judges_conversation_is_none_of_the_run(tmp_path):
    judge = [
        span(8, 1, "judge", 8, 9, {"openinference.span.kind": "EVALUATOR"}),
        current()[3] | {"id": 9, "parent": 8, "start": 8, "end": 9},
    ]
    (one,) = read(tmp_path, otlp([*current(), *judge]), "spans.json").trajectories
    assert steps_of(one) == STEPS


def test_log_records_hold_the_content_of_their_spans(tmp_path):
    spans = current()
    details = {key: spans[0]["attributes"][key] for key in ("gen_ai.input.messages", "gen_ai.output.messages")}
    bare = [spans[0] | {"attributes": {"gen_ai.operation.name": "chat"}}, *spans[1:]]
    record = {
        "traceId": "t1",
        "spanId": "s2",
        "timeUnixNano": str(1_700_000_001_000_000_000),
        "eventName": "gen_ai.client.inference.operation.details",
        "body": {"kvlistValue": {"values": pairs(details)}},
        "attributes": [],
    }
    logs = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [record]}]}]}
    (one,) = read(tmp_path, [otlp(bare), logs], "all.jsonl").trajectories
    assert steps_of(one) == STEPS


def test_a_name_with_spaces_and_arguments_that_are_no_json_are_kept(tmp_path):
    spans = current()
    spans[1]["attributes"] |= {"gen_ai.tool.name": "look at", "gen_ai.tool.call.arguments": "bed three"}
    spans[1]["attributes"].pop("gen_ai.tool.call.id")
    (one,) = read(tmp_path, otlp(spans[1:2]), "spans.json").trajectories
    assert [(step.tool, step.arguments) for step in one.steps] == [("look_at", "bed three")]


@given(st.data())
@pytest.mark.parametrize("encoding", ["otlp", "jaeger"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_with_junk_anywhere_every_trace_is_read_or_quarantined(tmp_path, convention, encoding, data):
    document = data.draw(mutated(ENCODINGS[encoding](CONVENTIONS[convention]())))
    found = read(tmp_path, document, "spans.json")
    assert found.skipped or whole(found) >= 1


@given(st.data())
def test_with_junk_in_any_attribute_every_trace_is_read_or_quarantined(tmp_path, data):
    spans = data.draw(st.sampled_from([one() for one in CONVENTIONS.values()]))
    one = data.draw(st.sampled_from(spans))
    key = data.draw(st.sampled_from(sorted(one["attributes"])))
    one["attributes"][key] = data.draw(st.sampled_from(JUNK) | any_json | any_json.map(json.dumps))
    assert whole(read(tmp_path, ENCODINGS["printed"](spans), "spans.json")) == 1


@given(
    st.lists(st.dictionaries(st.sampled_from(["attributes", "name", "traceId", "spans", "tags"]), any_json), max_size=3)
)
def test_any_json_beside_spans_is_quarantined(tmp_path, others):
    found = read(tmp_path, [*map(otlp_span, current()), *others], "spans.json")
    assert whole(found) >= 1
