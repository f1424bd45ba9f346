"""A trace whose spans lie in several files of one import is one run, however they were split."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.choices import Choices, ScoreRule
from synde_pipeline.logs.reading import native_files, read_files
from synde_pipeline_tests.logs import test_langfuse, test_langsmith
from synde_pipeline_tests.logs.span_logs import CONVENTIONS, current, nanoseconds, otlp, pairs, span

HELPFUL = Choices(outcome=ScoreRule.of("score:helpful>=0.5"))
NOISE = span(9, 0, "POST /run", 0, 9, {"http.method": "POST"})
LATER = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 0.9}


def record(name, of, attributes):
    """A log record of a span, in a document of its own."""
    one = {"traceId": "t1", "spanId": of, "timeUnixNano": nanoseconds(9), "eventName": name}
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [one | {"attributes": pairs(attributes)}]}]}]}


def otel(convention):
    """Spans under a request that is no agent's, their judgement and the content of one of them in log records."""
    spans = [one | {"parent": one["parent"] or 9} for one in CONVENTIONS[convention]()]
    held = {key: value for key, value in spans[0]["attributes"].items() if "messages" in key}
    spans[0]["attributes"] = {key: value for key, value in spans[0]["attributes"].items() if key not in held}
    content = [record("gen_ai.client.inference.operation.details", "s2", held)] if convention == "current" else []
    spans[1] = spans[1] if content else spans[1] | {"start": 3, "end": 3}
    if not content:
        spans[0]["attributes"] |= held
    return [*(otlp([one]) for one in [*spans, NOISE]), *content, record("gen_ai.evaluation.result", "s5", LATER)]


def at_once():
    """Calls of two agents that begin together, and two that do all together."""
    words = [("a", 2), ("b", 1), ("c", 3), ("d", 3)]
    said = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role": "user", "content": "go"}]'}
    return [
        otlp([span(k, 0, "chat", 1, end, said | {"gen_ai.completion": word})]) for k, (word, end) in enumerate(words, 1)
    ]


SOURCES = {
    "calls at once": at_once(),
    **{convention: otel(convention) for convention in CONVENTIONS},
    "observations of the API": test_langfuse.OBSERVATIONS,
    "observations of the blob export": test_langfuse.ROWS,
    "traces of Langfuse": [test_langfuse.EXPORT | {"observations": [one]} for one in test_langfuse.OBSERVATIONS],
    "runs of LangSmith": test_langsmith.RUNS,
    "runs of LangSmith without an order": [
        {key: value for key, value in one.items() if key != "dotted_order"} for one in test_langsmith.RUNS
    ],
}


def runs_in(folder, files):
    """All runs of an import, and what its files say of themselves."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, rows in enumerate(files):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{number}.jsonl").write_text(text, "utf-8")
    found = list(read_files(native_files(folder), choices=HELPFUL))
    assert [bad.reason for one in found for bad in one.bad] == []
    return [run.model_dump() for one in found for run in one.trajectories], found


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
def test_however_a_trace_is_split_over_files_the_run_is_the_same(tmp_path, source, data):
    rows = data.draw(st.permutations(SOURCES[source]))
    again = data.draw(st.lists(st.sampled_from(rows), max_size=2))  # exported twice
    places = [data.draw(st.integers(0, 3)) for _ in [*rows, *again]]
    files = [[row for row, at in zip([*rows, *again], places, strict=True) if at == k] for k in range(4)]
    (whole,), _ = runs_in(tmp_path / "whole", [SOURCES[source]])
    (run,), found = runs_in(tmp_path / "split", [one for one in files if one])
    assert run == whole
    assert len(run["steps"]) > 1
    assert sum(bool(one.skipped) for one in found) == len(found) - 1


def test_the_run_counts_for_the_file_that_begins_it_and_the_others_say_so(tmp_path):
    spans, other = current(), otlp(current(), "t2")
    runs, found = runs_in(tmp_path, [[otlp([NOISE])], [otlp(spans[:2])], [otlp(spans[2:])], [otlp(spans[:1]), other]])
    assert [run["trace_uid"] for run in runs] == ["otel:t1", "otel:t2"]
    assert [len(one.trajectories) for one in found] == [0, 1, 0, 1]
    part = "parts of runs that other files begin"
    assert [one.skipped for one in found] == [part, "", part, ""]


def test_spans_of_requests_alone_are_no_runs_and_wait_for_none(tmp_path):
    runs, found = runs_in(tmp_path, [[otlp([NOISE])], [otlp(current(), "t2")]])
    assert [run["trace_uid"] for run in runs] == ["otel:t2"]
    assert found[0].skipped.startswith("no importer reads this file")


def test_a_span_that_was_exported_before_it_ended_counts_in_its_last_version(tmp_path):
    begun = {key: value for key, value in test_langsmith.RUNS[3].items() if key not in ("outputs", "end_time")}
    (whole,), _ = runs_in(tmp_path, [test_langsmith.RUNS])
    assert runs_in(tmp_path, [[begun], test_langsmith.RUNS])[0] == [whole]
