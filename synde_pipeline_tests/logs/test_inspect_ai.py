"""Inspect AI logs: `.json` and `.eval`, scores of many kinds, and what newer logs store apart."""

import json
import zipfile
import zlib
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.archives import Archive, UnpackError
from synde_pipeline.logs.choices import Choices, ScoreRule
from synde_pipeline.logs.reading import read_file, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

HEAD = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "garden/Pick-Berries",
        "model": "lab/small",
        "created": "2025-05-01T10:00:00+02:00",
        "run_id": "r1",
    },
    "plan": {},
}
SAMPLE = {
    "id": 1,
    "epoch": 2,
    "input": "Pick the ripe ones.",
    "target": "the hidden third",
    "messages": [
        {"role": "system", "content": "You pick berries."},
        {"role": "user", "content": "Pick the ripe ones.", "source": "input"},
        {
            "role": "assistant",
            "content": [{"type": "reasoning", "reasoning": "Which?"}, {"type": "text", "text": "I look."}],
            "tool_calls": [{"id": "a", "function": "look at", "arguments": {"bush": 1}}],
        },
        {"role": "tool", "content": "red", "tool_call_id": "a", "function": "look at"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "b", "function": "pick", "arguments": {}}]},
        {"role": "tool", "content": "", "tool_call_id": "b", "error": {"type": "timeout", "message": "too slow"}},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    ],
    "scores": {"match": {"value": "C", "answer": "x", "explanation": "it is the hidden third"}},
    "metadata": {"answer": "the hidden third"},
    "events": [
        {"event": "model", "timestamp": "2025-05-01T10:00:01+02:00"},
        {"event": "score", "timestamp": "2025-05-01T10:00:09+02:00"},
    ],
    "uuid": "u1",
}
STEPS = [
    ("", "Which?\nI look.", "look_at", '{"bush":1}', "red", True),
    ("red", "", "pick", "{}", "too slow", False),
    ("too slow", "", REPLY, "Done.", "", None),
]


def log(*samples, **values):
    return HEAD | {"samples": list(samples)} | values


def test_a_sample_becomes_a_run_of_its_task_and_epoch(tmp_path):
    found = read(tmp_path, log(SAMPLE), "log.json")
    (run,) = found.trajectories
    assert (found.format, run.trace_uid) == ("inspect-ai", "inspect-ai:u1")
    assert (run.task_id, run.domain, run.trial) == ("inspect:pick_berries:1", "pick_berries", 1)
    assert (run.model, run.system, run.task) == ("lab/small", "You pick berries.", "Pick the ripe ones.")
    assert (run.outcome, run.reward, run.label_source) == ("success", 1.0, "verifier")
    assert (run.started_at, run.ended_at) == tuple(datetime(2025, 5, 1, 8, 0, k, tzinfo=UTC) for k in (1, 9))
    assert steps_of(run) == STEPS
    assert "hidden" not in run.canonical()


@pytest.mark.parametrize(
    ("scores", "outcome", "reward", "source"),
    [
        ({"match": {"value": "I"}}, "failure", 0.0, "verifier"),
        ({"match": {"value": "P"}}, "partial", 0.5, "verifier"),
        ({"match": {"value": "N"}}, "failure", 0.0, "verifier"),
        ({"match": {"value": 1}}, "success", 1.0, "verifier"),
        ({"match": {"value": True}}, "success", 1.0, "verifier"),
        ({"match": {"value": 0.25}}, "partial", 0.25, "verifier"),
        ({"model_graded_qa": {"value": "C"}}, "success", 1.0, "judge"),
        ({"mine": {"value": "C", "metadata": {"grading": []}}}, "success", 1.0, "judge"),
        ({"match": {"value": "I"}, "model_graded_qa": {"value": "C"}}, "failure", 0.0, "verifier"),
        ({"match": {"value": "C"}, "includes": {"value": "C"}}, "success", 1.0, "verifier"),
        ({"match": {"value": "C"}, "includes": {"value": "I"}}, "unknown", None, "none"),
        ({"length": {"value": 17}}, "unknown", None, "none"),
        ({"length": {"value": float("nan")}}, "unknown", None, "none"),
        ({"parts": {"value": {"a": 1, "b": 0}}}, "unknown", None, "none"),
        ({"note": {"value": "a long text"}}, "unknown", None, "none"),
        ({}, "unknown", None, "none"),
        (None, "unknown", None, "none"),
    ],
)
def test_scores_are_an_outcome_where_they_say_one(tmp_path, scores, outcome, reward, source):
    (run,) = read(tmp_path, log(SAMPLE | {"scores": scores}), "log.json").trajectories
    assert (run.outcome, run.reward, run.label_source) == (outcome, reward, source)


def test_the_score_of_old_logs_counts_and_a_rule_reads_any_other_by_name(tmp_path):
    old = {key: value for key, value in SAMPLE.items() if key != "scores"} | {"score": {"value": "I"}}
    assert read(tmp_path, log(old), "log.json").trajectories[0].outcome == "failure"
    parts = SAMPLE | {"scores": {"parts": {"value": {"a": 17, "b": 0}}, "match": {"value": "?"}}}
    rule = Choices(outcome=ScoreRule.of("score:parts.a>=10"))
    (run,) = read(tmp_path, log(parts), "log.json", choices=rule).trajectories
    assert (run.outcome, run.reward, run.label_source) == ("success", 17.0, "judge")


def test_an_invalidated_sample_is_quarantined_with_its_reason(tmp_path):
    invalid = SAMPLE | {"uuid": "u2", "invalidation": {"author": "me", "reason": "the berries were plastic"}}
    found = read(tmp_path, log(SAMPLE, invalid), "log.json")
    assert (len(found.trajectories), [bad.reason for bad in found.bad]) == (
        1,
        ["invalidated: the berries were plastic"],
    )


def test_a_log_without_samples_is_named(tmp_path):
    assert read(tmp_path, HEAD, "log.json").skipped == "Inspect AI log without samples"
    assert archived(tmp_path, {"header.json": HEAD}).skipped == "Inspect AI log without samples"


def test_a_sample_that_never_spoke_has_its_input_as_task(tmp_path):
    silent = SAMPLE | {"messages": [], "error": {"message": "crashed"}, "scores": None}
    (run,) = read(tmp_path, log(silent), "log.json").trajectories
    assert (run.task, run.steps, run.outcome) == ("Pick the ripe ones.", (), "unknown")


# -- what newer logs store apart -----------------------------------------------------------------------------------


def linked(text, attachments):
    attachments[f"h{len(attachments)}"] = text
    return f"attachment://h{len(attachments) - 1}"


def test_attachments_are_put_in_their_places(tmp_path):
    apart: dict[str, str] = {}
    messages = [
        one | {"content": linked(one["content"], apart)} if isinstance(one["content"], str) and one["content"] else one
        for one in SAMPLE["messages"]
    ]
    (run,) = read(tmp_path, log(SAMPLE | {"messages": messages, "attachments": apart}), "log.json").trajectories
    assert len(apart) == 3
    assert (run.task, run.system, steps_of(run)) == ("Pick the ripe ones.", "You pick berries.", STEPS)


@pytest.mark.parametrize("place", ["message_pool", "events_data"])
def test_a_conversation_that_only_the_pool_holds_is_put_together_from_the_last_call(tmp_path, place):
    *before, last = SAMPLE["messages"]
    pool = [{"role": "user", "content": "of another call"}, *before]
    calls = [
        {"event": "model", "input": [], "input_refs": [[0, 1]], "output": {"choices": [{"message": pool[0]}]}},
        {"event": "model", "input": [], "input_refs": [[1, 3], [3, 7]], "output": {"choices": [{"message": last}]}},
        {"event": "score"},
    ]
    pools = {"message_pool": pool} if place == "message_pool" else {"events_data": {"messages": pool, "calls": []}}
    (run,) = read(tmp_path, log(SAMPLE | {"messages": [], "events": calls} | pools), "log.json").trajectories
    assert steps_of(run) == STEPS


def archived(tmp_path, members, method=zipfile.ZIP_DEFLATED):
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return read_file(path, rule=spread_over())


def test_an_archive_is_read_sample_by_sample_and_a_broken_one_costs_itself_only(tmp_path):
    members = {
        "_journal/start.json": HEAD,
        "samples/1_epoch_2.json": SAMPLE,
        "samples/2_epoch_1.json": b"{broken",
        "summaries.json": [],
        "header.json": HEAD,
    }
    found = archived(tmp_path, members)
    assert [steps_of(run) for run in found.trajectories] == [STEPS]
    assert ["is not JSON" in bad.reason for bad in found.bad] == [True]
    del members["header.json"]
    assert archived(tmp_path, members).trajectories[0].task_id == "inspect:pick_berries:1"


def test_a_sample_in_chunks_is_put_together(tmp_path):
    messages = [*SAMPLE["messages"][3:], {"role": "user", "content": "never said"}, *SAMPLE["messages"][:3]]
    messages[0] = messages[0] | {"content": "attachment://1"}
    shell = {key: value for key, value in SAMPLE.items() if key not in ("messages", "events")}
    folder = "samples/1_epoch_2"
    members = {
        "header.json": HEAD | {"version": 3},
        f"{folder}/sample.json": shell | {"message_refs": [[5, 8], [0, 4]]},
        f"{folder}/messages/0.json": messages[:6],
        f"{folder}/messages/6.json": messages[6:],
        f"{folder}/attachments/0.json": ["unused", "red"],
        f"{folder}/skeleton.json": {},
    }
    (run,) = archived(tmp_path, members).trajectories
    assert steps_of(run) == STEPS
    found = archived(tmp_path, members | {f"{folder}/messages/6.json": {"no": "list"}})
    assert (found.trajectories, "does not follow" in found.bad[0].reason) == ([], True)


def zstandard(data: bytes, content: bytes) -> bytes:
    """A zip of one stored member, marked as Zstandard of some content."""
    facts = b"".join(number.to_bytes(4, "little") for number in (zlib.crc32(content), len(data_of(data)), len(content)))
    changed = bytearray(data)
    for header, method, checksum in ((data.index(b"PK\x03\x04"), 8, 14), (data.index(b"PK\x01\x02"), 10, 16)):
        changed[header + method : header + method + 2] = (93).to_bytes(2, "little")
        changed[header + checksum : header + checksum + 12] = facts
    return bytes(changed)


def data_of(data: bytes) -> bytes:
    start = data.index(b"\x28\xb5\x2f\xfd")
    return data[start : data.index(b"PK\x01\x02")]


@pytest.mark.parametrize("is_broken", [False, True])
def test_members_in_zstandard_are_unpacked_and_checked(tmp_path, is_broken):
    content = json.dumps(log(SAMPLE)).encode()
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("samples/1_epoch_2.json", bytes(pa.compress(content, codec="zstd", asbytes=True)))
    packed = zstandard(path.read_bytes(), content[:-1] + b" " if is_broken else content)
    archive = Archive(packed)
    if is_broken:
        with pytest.raises(UnpackError, match="checksum"):
            archive.json("samples/1_epoch_2.json")
    else:
        assert archive.json("samples/1_epoch_2.json") == log(SAMPLE)


@given(st.data())
def test_with_junk_anywhere_every_sample_is_read_or_quarantined(tmp_path, data):
    found = read(tmp_path, log(SAMPLE, data.draw(mutated(SAMPLE)), data.draw(any_json)), "log.json")
    assert whole(found) == 3


@given(st.data())
def test_with_junk_anywhere_in_a_log_it_ends_somewhere(tmp_path, data):
    pooled = SAMPLE | {"messages": [], "message_pool": SAMPLE["messages"], "attachments": {"h": "x"}}
    pooled["events"] = [{"event": "model", "input_refs": [[0, 7]], "output": {"choices": []}}]
    document = data.draw(mutated(log(pooled)))
    found = read(tmp_path, document, "log.json")
    assert found.skipped or whole(found) == len(document["samples"])


@given(st.dictionaries(st.sampled_from(["header.json", "samples/1_epoch_1.json", "samples/x/sample.json"]), any_json))
def test_any_json_in_an_archive_ends_somewhere(tmp_path, members):
    found = archived(tmp_path, {"_journal/start.json": HEAD} | members)
    assert found.skipped or whole(found) == sum(name.startswith("samples/") for name in members)
