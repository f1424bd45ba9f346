"""Chats as JSON lines, rows of the data flywheel, and our own lines."""

import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.choices import Choices, ScoreRule
from synde_pipeline.logs.importers.registry import detect
from synde_pipeline.logs.reading import read_file
from synde_pipeline.records import REPLY
from synde_pipeline_tests.helpers import called, trajectory
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole


def call(name, arguments, call_id="c1", **more):
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}],
        **more,
    }


def answer(text, call_id="c1", **more):
    return {"role": "tool", "tool_call_id": call_id, "content": text, **more}


SYSTEM = {"role": "system", "content": "You tend a garden."}
ASK = {"role": "user", "content": "Water bed 3."}
CHAT = {
    "messages": [
        SYSTEM,
        ASK,
        call("look", '{"bed": 3}', reasoning_content="Is it dry?"),
        answer('{"moisture": 2}'),
        call("water", {"bed": 3}, "c2", content="It is dry."),
        answer("Error: tap closed", "c2"),
        {"role": "assistant", "content": "The tap is closed."},
        {"role": "user", "content": "Thanks."},
    ],
    "tools": [],
    "weight": 1,
}
LEGACY = {
    "messages": [
        {"role": "developer", "content": "You tend a garden."},
        {"role": "user", "content": [{"type": "text", "text": "Rake bed 4."}]},
        {"role": "assistant", "content": None, "function_call": {"name": "rake", "arguments": '{"bed": 4}'}},
        {"role": "function", "name": "rake", "content": "raked"},
    ]
}


def test_a_chat_becomes_a_step_for_each_call_and_each_reply(tmp_path):
    (run,) = read(tmp_path, [CHAT]).trajectories
    assert (run.system, run.task, run.domain, run.source) == (
        "You tend a garden.",
        "Water bed 3.",
        "chat",
        "openai-chat",
    )
    assert steps_of(run) == [
        ("", "Is it dry?", "look", '{"bed":3}', '{"moisture": 2}', None),
        ('{"moisture": 2}', "It is dry.", "water", '{"bed":3}', "Error: tap closed", False),
        ("Error: tap closed", "", REPLY, "The tap is closed.", "Thanks.", None),
    ]


def test_weight_is_no_outcome_and_the_log_says_none(tmp_path):
    (run,) = read(tmp_path, [CHAT], choices=Choices(outcome=ScoreRule.of("score:weight>=1"))).trajectories
    assert (run.outcome, run.label_source, run.reward) == ("unknown", "none", None)


def test_a_number_of_the_row_or_its_metadata_is_a_score_that_a_rule_may_name(tmp_path):
    rows = [CHAT | {"metadata": {"rating": 4, "team": "roses"}}, LEGACY | {"rating": 1}]
    choices = Choices(domain="metadata.team", outcome=ScoreRule.of("score:rating>3"))
    first, second = read(tmp_path, rows, choices=choices).trajectories
    assert (first.outcome, first.reward, first.domain) == ("success", 4.0, "roses")
    assert second.outcome == "failure"


def test_a_legacy_call_is_answered_by_its_name(tmp_path):
    (run,) = read(tmp_path, [LEGACY]).trajectories
    assert (run.system, run.task) == ("You tend a garden.", "Rake bed 4.")
    assert steps_of(run) == [("", "", "rake", '{"bed":4}', "raked", None)]


def test_answers_without_ids_go_to_the_open_calls_in_their_order(tmp_path):
    both = {"role": "assistant", "tool_calls": [{"name": "look", "arguments": {"bed": k}} for k in (1, 2)]}
    messages = [ASK, both, {"role": "tool", "content": "dry"}, {"role": "tool", "content": "wet"}]
    (run,) = read(tmp_path, [{"messages": messages}]).trajectories
    assert [one.result for one in run.steps] == ["dry", "wet"]


def test_a_written_out_action_is_a_call_and_what_the_model_imagined_is_cut(tmp_path):
    wrote = 'Thought: Is it dry?\nAction: look\nAction Input: {"bed": 3}\nObservation: It is wet.\nFinal Answer: wet'
    messages = [
        ASK,
        {"role": "assistant", "content": wrote},
        {"role": "user", "content": "Observation: dry"},
        {"role": "assistant", "content": "Thought: Now I know.\nFinal Answer: It is dry."},
    ]
    (run,) = read(tmp_path, [{"messages": messages}]).trajectories
    assert steps_of(run) == [
        ("", "Is it dry?", "look", '{"bed":3}', "dry", None),
        ("dry", "Now I know.", REPLY, "It is dry.", "", None),
    ]
    assert "wet" not in run.canonical()


def test_a_row_with_a_time_needs_no_rule_and_the_same_words_are_the_same_task(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(CHAT | {"created_at": f"2025-03-0{k}T10:00:00Z"}) for k in (1, 2)), "utf-8")
    first, second = read_file(path).trajectories
    assert (first.day, second.day) == (date(2025, 3, 1), date(2025, 3, 2))
    assert first.task_id == second.task_id
    assert first.trace_uid != second.trace_uid


@pytest.mark.parametrize("row", [{"info": {}}, {"trajectory_format": "x"}, {"instance_id": "a"}])
def test_other_formats_that_hold_messages_are_not_claimed(tmp_path, row):
    assert read(tmp_path, [CHAT | row]).format is None


# -- the data flywheel -------------------------------------------------------------------------------------------------


def record(at, messages, said, client="shop", **more):
    response = {
        "id": f"r{at}",
        "choices": [{"message": {"role": "assistant", "tool_calls": None, **said}}],
        "usage": {},
    }
    request = {"model": "small", "messages": messages, "tools": []}
    return {
        "timestamp": at,
        "workload_id": "Garden help",
        "client_id": client,
        "request": request,
        "response": response,
        **more,
    }


ACT = call("water", {"bed": 3})
HEARD = [SYSTEM, ASK, ACT | {"content": ""}, answer("done")]
DONE = {"content": "Bed 3 is watered."}
RECORDS = [
    record(1760000000, [SYSTEM, ASK], ACT),
    record(1760000009, HEARD, DONE),
    record(1760000005, [SYSTEM, ASK], {"content": "No."}),
    record(1760000007, [SYSTEM, ASK], {"content": "Other client."}, "farm"),
]


def test_rows_whose_messages_grow_are_one_run_with_the_last_response(tmp_path):
    found = read(tmp_path, RECORDS)
    assert found.n_undated == 0
    run, again, other = found.trajectories
    assert steps_of(run) == [
        ("", "", "water", '{"bed":3}', "done", None),
        ("done", "", REPLY, "Bed 3 is watered.", "", None),
    ]
    assert [one.timestamp for one in run.steps] == [datetime.fromtimestamp(1760000000 + k, UTC) for k in (0, 9)]
    assert (run.started_at, run.ended_at) == (run.steps[0].timestamp, run.steps[1].timestamp)
    assert (run.domain, run.model, run.system, run.task) == (
        "garden_help",
        "small",
        "You tend a garden.",
        "Water bed 3.",
    )
    assert [[one.arguments for one in each.steps] for each in (again, other)] == [["No."], ["Other client."]]
    assert run.task_id == again.task_id == other.task_id


def test_a_run_that_went_on_since_the_last_import_keeps_its_id(tmp_path):
    (before,) = read(tmp_path, RECORDS[:1]).trajectories
    (after,) = read(tmp_path, RECORDS[:2]).trajectories
    assert before.trace_uid == after.trace_uid
    assert (len(before.steps), len(after.steps)) == (1, 2)


def test_a_flywheel_row_without_its_parts_costs_no_other_row(tmp_path):
    broken = [RECORDS[0] | {"timestamp": None}, RECORDS[0] | {"request": "x"}, 5]
    found = read(tmp_path, [*RECORDS, *broken])
    assert (len(found.trajectories), len(found.bad)) == (3, 3)


@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_interleaved_conversations_of_one_client_are_taken_apart(tmp_path, n_turns, random):
    rows = []
    for name in ("a", "b", "c"):
        messages = [{"role": "user", "content": f"task {name}"}]
        for k in range(n_turns):
            reply = {"role": "assistant", "content": f"{name}{k}"}
            rows.append((k, record(1760000000 + k, list(messages), reply)))
            messages += [reply, {"role": "user", "content": "go on"}]
    random.shuffle(rows)
    found = read(tmp_path, [row for _, row in sorted(rows, key=lambda one: one[0])])
    assert sorted([run.task, *(one.arguments for one in run.steps)] for run in found.trajectories) == [
        [f"task {name}", *(f"{name}{k}" for k in range(n_turns))] for name in ("a", "b", "c")
    ]


# -- our own lines -----------------------------------------------------------------------------------------------------


def test_our_own_lines_come_back_as_they_were(tmp_path):
    runs = [
        trajectory("x:1", steps=called(("look", {"bed": 3}, "dry", True)), shown_memory=("m1",), source="tau-bench"),
        trajectory("x:2", outcome="unknown", started_at=datetime(2025, 1, 3, 10, tzinfo=UTC), scope="site:zormek"),
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(run.model_dump_json() + "\n" for run in runs), "utf-8")
    found = read_file(path)
    assert (found.format, found.trajectories, found.bad) == ("synde", runs, [])
    path.write_text(runs[0].model_dump_json(), "utf-8")
    assert read_file(path).trajectories == runs[:1]


def test_a_line_of_a_newer_schema_or_with_a_field_that_nobody_knows_is_refused(tmp_path):
    row = json.loads(trajectory().model_dump_json())
    found = read(tmp_path, [row, row | {"schema_version": 99}, row | {"mood": "good"}])
    assert (len(found.trajectories), len(found.bad)) == (1, 2)
    assert found.unknown == {"mood": 1}


# -- junk --------------------------------------------------------------------------------------------------------------

OWN = json.loads(trajectory("x:1", steps=called(("look", {"bed": 3}, "dry", True))).model_dump_json())
OTHER_OWN = json.loads(trajectory("x:2", task="t2").model_dump_json())


@pytest.mark.parametrize(
    ("good", "rows"),
    [(LEGACY, [CHAT]), (record(1760000003, [LEGACY["messages"][1]], DONE), RECORDS[:2]), (OTHER_OWN, [OWN])],
    ids=["openai-chat", "nvidia-flywheel", "synde"],
)
@given(data=st.data())
def test_any_value_anywhere_costs_no_other_row(tmp_path, good, rows, data):
    (kept,) = read(tmp_path, [good]).trajectories
    broken = data.draw(mutated(rows))
    found = read(tmp_path, [good, *broken])
    assert kept.content_hash in {run.content_hash for run in found.trajectories}
    assert whole(found) >= 2


@pytest.mark.parametrize(
    "keys", [["messages"], ["request", "response", "client_id", "workload_id", "timestamp"], list(OWN)]
)
@given(data=st.data())
def test_any_json_under_a_formats_fields_is_read_or_quarantined(tmp_path, keys, data):
    row = {key: data.draw(any_json) for key in keys}
    for good in (CHAT, RECORDS[0], OWN):
        assert whole(read(tmp_path, [good, row])) == 2


def test_a_format_is_told_from_the_others_by_its_content():
    names = [detect([row]).name for row in (CHAT, RECORDS[0], OWN)]
    assert names == ["openai-chat", "nvidia-flywheel", "synde"]
