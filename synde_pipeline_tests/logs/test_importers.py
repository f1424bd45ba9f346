"""Importers: what each native format becomes, on the fixtures of our own world and on the recorded logs."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from synde_pipeline.errors import ImportFormatError
from synde_pipeline.logs.importers.chat import arguments_of, conversation_of, message_of, text_of
from synde_pipeline.logs.importers.registry import detect, importers
from synde_pipeline.logs.reading import native_files, read_file, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.helpers import SHARED, needs_shared
from synde_pipeline_tests.sample_logs import SAMPLE, TAU, TAU2


def trajectories_of(path: Path, **options):
    return read_file(path, rule=spread_over(), **options).trajectories


def test_a_tau_trial_becomes_its_task_steps_and_verdict():
    row = json.loads(TAU.read_text("utf-8"))[1]
    item = trajectories_of(TAU)[1]
    assert (item.task_id, item.domain, item.trial, item.source) == ("tau:library:200", "library", 1, "tau-bench")
    assert (item.outcome, item.reward, item.label_source) == ("success", 1.0, "verifier")
    assert item.system == row["traj"][0]["content"]
    assert item.task == row["traj"][1]["content"]
    assert (item.started_at, item.ended_at, item.model) == (None, None, "")
    spoken = [message for message in row["traj"] if message["role"] == "assistant"]
    assert [step.tool for step in item.steps] == [
        message["tool_calls"][0]["function"]["name"] if "tool_calls" in message else REPLY for message in spoken
    ]


def test_each_state_is_the_result_of_the_step_before_and_the_first_is_empty():
    for item in trajectories_of(SAMPLE):
        assert item.steps[0].state == ""
        for before, after in zip(item.steps, item.steps[1:], strict=False):
            assert after.state == before.result != ""


def test_a_reply_is_the_message_and_a_call_is_canonical_json_with_its_thought_as_reasoning():
    steps = [step for item in trajectories_of(SAMPLE) for step in item.steps]
    replies = [step for step in steps if step.tool == REPLY]
    assert all(step.arguments and not step.reasoning and step.success is None for step in replies)
    calls = [step for step in steps if step.tool != REPLY]
    assert all(step.arguments == arguments_of(json.loads(step.arguments)) for step in calls)
    assert {bool(step.reasoning) for step in calls} == {True, False}


def test_a_tau_tool_result_that_starts_with_error_is_a_failed_step():
    calls = [step for item in trajectories_of(SAMPLE) for step in item.steps if step.tool != REPLY]
    assert {step.success for step in calls} == {True, False}
    assert all(step.success is not step.result.startswith("Error") for step in calls)


def test_a_trial_without_reward_is_unknown_and_one_without_reward_info_keeps_its_reward():
    by_task = {(item.task_id, item.trial): item for item in trajectories_of(TAU)}
    unlabelled = by_task["tau:library:202", 1]
    assert (unlabelled.outcome, unlabelled.reward, unlabelled.label_source) == ("unknown", None, "none")
    assert by_task["tau:library:201", 1].reward is not None


@pytest.mark.parametrize(
    ("reward", "outcome"), [(1, "success"), (1.0, "success"), (0.0, "failure"), (0.5, "partial"), (None, "unknown")]
)
def test_the_reward_says_the_outcome(tmp_path, reward, outcome):
    row = json.loads(TAU.read_text("utf-8"))[0] | {"reward": reward}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]), "utf-8")
    assert trajectories_of(path)[0].outcome == outcome


def test_a_tau2_simulation_becomes_its_task_steps_times_and_model():
    item = trajectories_of(TAU2)[0]
    assert item.trace_uid == "tau2-bench:library-run-00"
    assert (item.task_id, item.domain, item.model) == ("tau2:library:300", "library", "scripted-desk-agent")
    assert item.system.startswith("# Library agent policy")
    assert item.started_at == datetime(2025, 3, 3, 9, 10, tzinfo=UTC)
    assert item.ended_at > item.started_at
    assert item.steps[0].timestamp is not None


def test_tau2_simulations_are_filed_under_the_day_they_started():
    days = [item.day for item in trajectories_of(TAU2)]
    assert days == [date(2025, 3, 3 + k % 3) for k in range(12)]


def test_the_greeting_before_the_first_user_turn_is_no_step():
    greeting = json.loads(TAU2.read_text("utf-8"))["simulations"][0]["messages"][0]
    assert greeting["role"] == "assistant"
    assert all(greeting["content"] not in step.arguments for item in trajectories_of(TAU2) for step in item.steps)


def test_a_run_that_ended_before_the_agent_acted_has_no_steps():
    item = trajectories_of(TAU2)[4]
    assert (item.steps, item.outcome) == ((), "failure")
    assert item.task


def test_a_simulation_without_reward_info_has_no_label():
    assert [item.outcome for item in trajectories_of(TAU2)].index("unknown") == 6


def test_parallel_calls_are_steps_of_their_own_and_each_gets_its_own_result():
    item = trajectories_of(TAU2)[1]
    at = next(step.index for step in item.steps if step.tool == "get_member_details")
    first, second, then = item.steps[at : at + 3]
    assert second.tool == "get_loan_details"
    assert first.state == item.steps[at - 1].result
    assert (second.state, second.reasoning) == ("", "")
    assert "reservations" in first.result
    assert "renewals_left" in second.result
    assert then.state == f"{first.result}\n{second.result}"
    assert (first.success, second.success) == (True, True)


def test_the_error_flag_of_tau2_outranks_the_words_of_the_result():
    worked = message_of({"role": "tool", "id": "1", "content": "Error codes: none", "error": False})
    failed = message_of({"role": "tool", "id": "1", "content": "sorry", "error": True})
    by_words = message_of({"role": "tool", "id": "1", "content": "Error: no"})
    assert (worked.is_error, failed.is_error, by_words.is_error) == (False, True, True)


@pytest.mark.parametrize(("domain", "task_id"), [("retail", "tau:retail:300"), ("airline", "tau2:airline:300")])
def test_retail_tasks_share_tau_benchs_family_and_airline_tasks_do_not(tmp_path, domain, task_id):
    document = json.loads(TAU2.read_text("utf-8"))
    document["info"]["environment_info"]["domain_name"] = domain
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(document), "utf-8")
    assert trajectories_of(path)[0].task_id == task_id


# -- chats that the benchmarks rarely hold ------------------------------------------------------------


def talk(*messages: dict):
    return conversation_of(message_of(message) for message in messages)


CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "name": "find", "arguments": {}}]}


def test_what_the_user_says_straight_after_a_tool_error_leaves_the_call_failed():
    found = talk(
        {"role": "user", "content": "find it"},
        CALL,
        {"role": "tool", "id": "a", "content": "no", "error": True},
        {"role": "user", "content": "and hurry"},
    )
    assert found.steps[0].success is False
    assert found.steps[0].result == "no\nand hurry"


def test_a_second_user_turn_before_the_first_action_is_seen_by_the_agent():
    found = talk({"role": "user", "content": "find it"}, {"role": "user", "content": "the red one"}, CALL)
    assert (found.task, found.steps[0].state) == ("find it", "the red one")


def test_a_chat_without_a_user_turn_is_refused():
    with pytest.raises(ValueError, match="never given a task"):
        talk({"role": "system", "content": "be kind"}, {"role": "assistant", "content": "hello"})


def test_the_simulated_users_own_tool_calls_are_not_the_agents(tmp_path):
    document = json.loads(TAU2.read_text("utf-8"))
    messages = document["simulations"][0]["messages"]
    acted = {"role": "user", "content": None, "tool_calls": [{"id": "u1", "name": "look_at_card", "arguments": {}}]}
    messages[3:3] = [acted, {"role": "tool", "id": "u1", "requestor": "user", "content": "a private thing"}]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(document), "utf-8")
    first = trajectories_of(path)[0]
    assert "look_at_card" not in first.canonical()
    assert "a private thing" not in first.canonical()
    assert [step.tool for step in first.steps] == [step.tool for step in trajectories_of(TAU2)[0].steps]


@pytest.mark.parametrize(
    ("content", "text"), [(None, ""), ("hi", "hi"), ([{"type": "text", "text": "a"}, "b", {"type": "image"}], "ab")]
)
def test_content_is_text_null_or_a_list_of_parts(content, text):
    assert text_of(content) == text


def test_arguments_that_are_no_json_stay_as_they_are():
    assert arguments_of("{broken") == "{broken"
    assert arguments_of('{"b": 1, "a": "ü"}') == '{"a":"ü","b":1}'
    assert arguments_of(None) == "{}"


# -- detection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "name"), [(TAU, "tau-bench"), (TAU2, "tau2-bench")])
def test_a_format_is_detected_by_content_whatever_the_file_is_called(tmp_path, source, name):
    other = "tau2-bench.log" if name == "tau-bench" else "tau-bench-retail.txt"
    path = tmp_path / other
    path.write_bytes(source.read_bytes())
    assert read_file(path, rule=spread_over()).format == name


def test_a_log_is_recognised_behind_many_rows_of_something_else():
    rows = [None] * 20 + json.loads(TAU.read_text("utf-8"))
    assert detect(rows).name == "tau-bench"


def test_a_forced_format_that_fits_is_used_and_one_that_does_not_fit_is_refused():
    assert read_file(TAU, forced="tau-bench", rule=spread_over()).format == "tau-bench"
    with pytest.raises(ImportFormatError, match="not in format tau2-bench"):
        read_file(TAU, forced="tau2-bench")


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ImportFormatError, match=r"expected .*tau-bench or tau2-bench"):
        read_file(TAU, forced="csv")


def test_every_importer_says_which_fields_go_no_further():
    assert all(importer.dropped for importer in importers().values())


# -- the recorded logs ------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize(("folder", "n", "n_successes"), [("tau-bench", 210, 96), ("tau2-bench", 222, 154)])
def test_every_recorded_trajectory_is_imported_with_its_label(folder, n, n_successes):
    found = [read_file(path, rule=spread_over()) for path in native_files(SHARED / folder) if path.suffix == ".json"]
    items = [item for one in found for item in one.trajectories]
    assert len(items) == n
    assert sum(item.outcome == "success" for item in items) == n_successes
    assert all(item.outcome != "unknown" for item in items)
    assert not [bad for one in found for bad in one.bad]
    assert {item.source for item in items} == {folder}
    assert len({item.trace_uid for item in items}) == n
