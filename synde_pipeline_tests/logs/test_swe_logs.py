"""SWE-agent and mini-swe-agent runs, and what reports of SWE-bench say of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.importers.swe_bench import named, report_of, told
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, mutated, read, steps_of, whole

SYSTEM = {"role": "system", "content": "You repair gardens.", "agent": "main"}
DEMO = {"role": "user", "content": "A demonstration: rake.", "is_demo": True, "agent": "main"}
ASKED = {"role": "user", "content": "ISSUE:\nThe gate squeaks.", "agent": "main", "message_type": "observation"}


def entry(action, observation, thought="", **values):
    return {"action": action, "observation": observation, "thought": thought, "response": thought, **values}


OLD = {
    "environment": "swe_main",
    "history": [SYSTEM, DEMO, ASKED, {"role": "user", "content": "an observation again", "agent": "main"}],
    "trajectory": [
        entry("open gate.py\n", "[File: gate.py]", "I look.", state='{"open_file": "n/a"}'),
        entry("oil --all gate.py && echo done\n", "done", "I oil.", state='{"open_file": "gate.py"}'),
        entry("", "Your output could not be read", "Hm."),
        entry("submit\n", "diff --git", "Ready."),
    ],
    "info": {"exit_status": "submitted", "submission": "diff --git", "model_stats": {"api_calls": 4}},
}


def acted(action, name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "c1", "type": "function", "function": function}
    return {"role": "assistant", "content": "I look.", "action": action, "tool_calls": [call], "agent": "main"}


NEW = OLD | {
    "environment": "main",
    "history": [SYSTEM, DEMO, ASKED, acted("open gate.py", "open", path="gate.py")],
    "trajectory": [
        entry("open gate.py", "[File: gate.py]", "I look.", state={"open_file": "gate.py"}, query=[SYSTEM, ASKED]),
        entry("ls -F", "gate.py", "More.", state={}, messages=[]),
    ],
    "replay_config": None,
}


def test_a_run_in_text_becomes_its_commands_and_a_shells_are_those_of_bash(tmp_path):
    found = read(tmp_path, OLD, "oak__garden-12.traj")
    (run,) = found.trajectories
    assert (found.format, run.task_id) == ("swe-agent", "swebench:software:oak__garden-12")
    assert (run.scope, run.system, run.task) == ("repository:oak/garden", "You repair gardens.", ASKED["content"])
    assert (run.outcome, run.label_source, run.started_at) == ("unknown", "none", None)
    assert steps_of(run) == [
        ("", "I look.", "open", '{"args":"gate.py"}', "[File: gate.py]", None),
        ("[File: gate.py]", "I oil.", "bash", '{"command":"oil --all gate.py && echo done"}', "done", None),
        ("done", "", REPLY, "Hm.", "Your output could not be read", None),
        ("Your output could not be read", "Ready.", "submit", "{}", "diff --git", None),
    ]


def test_calls_of_the_history_are_the_arguments_where_it_has_them(tmp_path):
    (run,) = read(tmp_path, NEW, "home-gate.traj").trajectories
    assert (run.task_id, run.scope) == ("swe-agent:software:home-gate", "")
    assert [(step.tool, step.arguments) for step in run.steps] == [
        ("open", '{"path":"gate.py"}'),
        ("bash", '{"command":"ls -F"}'),
    ]


def test_a_file_with_a_history_alone_is_read_from_it(tmp_path):
    answer = {"role": "tool", "content": "[File: gate.py]", "agent": "main", "tool_call_ids": ["c1"]}
    history = [SYSTEM, DEMO, ASKED, NEW["history"][3], answer]
    (run,) = read(tmp_path, {"history": history}, "simple.traj").trajectories
    assert steps_of(run) == [("", "I look.", "open", '{"path":"gate.py"}', "[File: gate.py]", None)]


def test_a_run_whose_history_is_gone_takes_the_task_from_what_was_asked_first(tmp_path):
    gone = {key: value for key, value in NEW.items() if key != "history"}
    (run,) = read(tmp_path, gone, "x.traj").trajectories
    assert (run.task, run.system) == (ASKED["content"], "You repair gardens.")


PROMPT = "<pr_description>\nThe gate squeaks.\n</pr_description>\n<instructions>One command a turn.</instructions>"


def bash(command, call_id, at):
    function = {"name": "bash", "arguments": json.dumps({"command": command})}
    extra = {"timestamp": at, "actions": [{"command": command, "tool_call_id": call_id}], "response": {"usage": {}}}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return {"role": "assistant", "content": "Next.", "tool_calls": calls, "extra": extra}


def output(text, call_id, code, at):
    extra = {"returncode": code, "raw_output": text, "timestamp": at, "exception_info": ""}
    content = f"<returncode>{code}</returncode>\n<output>\n{text}</output>"
    return {"role": "tool", "content": content, "tool_call_id": call_id, "extra": extra}


MINI = {
    "info": {
        "exit_status": "Submitted",
        "submission": "the patch",
        "mini_version": "2.0",
        "config": {"model": {"model_name": "small"}},
    },
    "messages": [
        {"role": "system", "content": "You can use bash."},
        {"role": "user", "content": PROMPT},
        bash("ls", "a", 1700000000.5),
        output("gate.py", "a", 0, 1700000001.0),
        bash("oil", "b", 1700000002.0),
        output("no oil", "b", 127, 1700000003.0),
        {"role": "exit", "content": "the patch", "extra": {"exit_status": "Submitted"}},
    ],
    "trajectory_format": "mini-swe-agent-1.1",
    "instance_id": "oak__garden-12",
}


def test_a_mini_run_has_its_task_apart_from_the_instructions_and_success_by_return_codes(tmp_path):
    found = read(tmp_path, MINI, "run.traj.json")
    (run,) = found.trajectories
    assert (found.format, run.task_id, run.model) == ("mini-swe-agent", "swebench:software:oak__garden-12", "small")
    assert run.task == "The gate squeaks."
    assert run.system == "You can use bash.\n<instructions>One command a turn.</instructions>"
    assert (run.started_at.timestamp(), run.ended_at.timestamp()) == (1700000000.5, 1700000003.0)
    first, second = (
        f"<returncode>{code}</returncode>\n<output>\n{text}</output>"
        for code, text in ((0, "gate.py"), (127, "no oil"))
    )
    assert steps_of(run) == [
        ("", "Next.", "bash", '{"command":"ls"}', first, True),
        (first, "Next.", "bash", '{"command":"oil"}', second, False),
    ]
    assert (run.outcome, "the patch" in run.canonical()) == ("unknown", False)


def test_commands_in_text_of_early_versions_are_calls_and_their_observations_answers(tmp_path):
    messages = [
        *MINI["messages"][:2],
        {"role": "assistant", "content": "I look.\n\n```bash\nls\n```"},
        {"role": "user", "content": "<returncode>2</returncode>\n<output>no</output>"},
        {"role": "assistant", "content": "What now?"},
        {"role": "user", "content": "Give exactly one command."},
    ]
    info = {"exit_status": "x", "submission": ""}
    (run,) = read(tmp_path, {"info": info, "messages": messages}, "home.traj.json").trajectories
    answer = messages[3]["content"]
    assert steps_of(run) == [
        ("", "I look.", "bash", '{"command":"ls"}', answer, False),
        (answer, "", REPLY, "What now?", "Give exactly one command.", None),
    ]


def run_in(folder, instance):
    folder.mkdir(parents=True)
    (folder / f"{instance}.traj.json").write_text(json.dumps(MINI | {"instance_id": instance}), "utf-8")


def outcomes_in(folder):
    found = read_files(native_files(folder), rule=spread_over())
    return {
        one.path.parent.name: (run.outcome, run.reward, run.label_source) for one in found for run in one.trajectories
    }


def test_the_report_beside_the_runs_labels_them_and_what_it_does_not_decide_stays_open(tmp_path):
    for instance in ("a__b-1", "a__b-2", "a__b-3", "a__b-4", "a__b-5"):
        run_in(tmp_path / "output" / instance, instance)
    report = {
        "resolved_ids": ["a__b-1", "a__b-5"],
        "unresolved_ids": ["a__b-2", "a__b-5"],
        "empty_patch_ids": ["a__b-3"],
        "incomplete_ids": ["a__b-4"],
    }
    (tmp_path / "model.run.json").write_text(json.dumps(report), "utf-8")
    failed, unknown = ("failure", 0.0, "verifier"), ("unknown", None, "none")
    assert outcomes_in(tmp_path) == {
        "a__b-1": ("success", 1.0, "verifier"),
        "a__b-2": failed,
        "a__b-3": failed,
        "a__b-4": unknown,
        "a__b-5": unknown,
    }


def test_of_reports_in_one_folder_the_one_named_after_a_run_labels_it(tmp_path):
    for name, ids in (("first", {"resolved_ids": ["a__b-1"]}), ("second", {"unresolved_ids": ["a__b-1"]})):
        run_in(tmp_path / "output" / name, "a__b-1")
        report = {"resolved_ids": [], "completed_ids": []} | ids
        (tmp_path / f"model.{name}.json").write_text(json.dumps(report), "utf-8")
    run_in(tmp_path / "output" / "third", "a__b-1")
    assert {name: found[0] for name, found in outcomes_in(tmp_path).items()} == {
        "first": "success",
        "second": "failure",
        "third": "unknown",
    }


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"resolved_ids": [], "unresolved_ids": []}, "SWE-bench report"),
        ({"resolved": ["a__b-1"], "generated": ["a__b-1", "a__b-2"]}, "SWE-bench report"),
        ({"a__b-1": {"resolved": True, "patch_exists": True}}, "SWE-bench report"),
        ({"a__b-1": {"instance_id": "a__b-1", "model_patch": "x"}}, "SWE-bench predictions"),
        ({"resolved": [1]}, ""),
        ({"resolved_ids": "all"}, ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_reports_and_predictions_are_named(tmp_path, document, word):
    assert report_of(document) == word
    if word:
        assert read(tmp_path, document, "x.json").skipped == word


@pytest.mark.parametrize("name", ["a__b-1", "Oak-tree__the.garden-12"])
def test_an_instance_names_its_repository(name):
    owner, _, rest = name.partition("__")
    assert named(name, "x") == (f"swebench:software:{name}", f"repository:{owner}/{rest.rpartition('-')[0]}")


@pytest.mark.parametrize("name", ["a-1", "a__b", "a__b-c", "_" * 100_000])
def test_other_names_are_tasks_of_their_own_family(name):
    assert named(name, "x") == (f"x:software:{name}", "")


def test_a_prompt_that_never_ends_its_task_is_the_task():
    prompt = "<pr_description>" * 100_000
    assert told(prompt) == (prompt, "")


@given(st.data())
@pytest.mark.parametrize("run", [OLD, NEW, MINI], ids=["old", "new", "mini"])
def test_with_junk_anywhere_a_run_is_read_or_quarantined(tmp_path, run, data):
    found = read(tmp_path, data.draw(mutated(run)), "x.json")
    assert found.skipped or whole(found) >= 1


@given(
    st.dictionaries(st.sampled_from(["info", "messages", "trajectory", "history", "resolved_ids", "a__b-1"]), any_json)
)
def test_any_json_under_their_names_ends_somewhere(tmp_path, value):
    found = read(tmp_path, value, "x.json")
    assert found.skipped or whole(found) >= 1
