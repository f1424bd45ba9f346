"""`synde import` and `synde scan` as a person meets them: a look first, own words for what logs do not say, growth."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from synde_pipeline.logs.reading import read_file
from synde_pipeline_tests.helpers import synde, synde_json
from synde_pipeline_tests.killing import hear_ctrl_c
from synde_pipeline_tests.logs.test_langfuse import EXPORT, TRACE, score
from synde_pipeline_tests.sample_logs import SAMPLE, TAU2, tau_trial

RULE = ("--start-day", "2025-02-01", "--per-day", "20")
MAIL = "ann.bell" + "@example.org"


def written(path, *trials):
    path.write_text(json.dumps(trials), "utf-8")
    return str(path)


def said(text: str, **changes):
    """A good trial in which the user says a text."""
    trial = tau_trial(0, 0) | changes
    return trial | {"traj": [*trial["traj"][:1], {"role": "user", "content": text}, *trial["traj"][2:]]}


def test_a_dry_run_shows_files_and_steps_and_what_is_missing_and_writes_nothing(tmp_path):
    shown = synde("import", "--dry-run", str(SAMPLE), home=tmp_path).stdout
    assert "tau-bench" in shown
    assert "180 trajectories would be imported" in shown
    assert "step  saw" in shown
    assert "180 carry no time: give --start-day and --per-day" in shown
    assert not (tmp_path / "warehouse").exists()


def test_every_format_says_where_it_takes_each_part_from(tmp_path):
    formats = {row["name"]: row for row in synde_json("import", "--formats", home=tmp_path)["formats"]}
    assert {"tau-bench", "tau2-bench"} <= formats.keys()
    for row in formats.values():
        assert all(row[part] for part in ("identity", "time", "domain", "task", "steps", "outcome", "label_source"))
    assert "info" in formats["tau-bench"]["ground_truth"]


def test_a_person_names_domain_and_task(tmp_path):
    synde("import", str(SAMPLE), *RULE, "--domain", "Help Desk", "--task-id", "trial", home=tmp_path)
    files = (tmp_path / "warehouse" / "landing").glob("day=*/*.jsonl")
    runs = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    assert {run["domain"] for run in runs} == {"help_desk"}
    assert {run["task_id"] for run in runs} == {f"tau:help_desk:{run['trial']}" for run in runs}


@pytest.mark.parametrize("rule", ["correctness>=0.5", "score:x", "score:>=1", "score:x>=y"])
def test_an_outcome_rule_that_is_none_says_what_is_expected(tmp_path, rule):
    result = synde("import", str(SAMPLE), "--outcome", rule, home=tmp_path, check=False)
    assert result.returncode != 0
    assert "score:NAME>=NUMBER" in result.stderr


def test_a_file_that_grew_adds_only_what_is_new(tmp_path):
    path = tmp_path / "runs.json"
    first = synde_json("import", written(path, said("one")), *RULE, home=tmp_path)
    second = synde_json("import", written(path, said("one"), said("two", trial=1)), *RULE, home=tmp_path)
    assert (first["trajectories"], second["trajectories"], second["duplicates"]) == (1, 2, 1)
    lines = [
        line
        for file in (tmp_path / "warehouse" / "landing").glob("day=*/*.jsonl")
        for line in file.read_text("utf-8").splitlines()
    ]
    assert len(lines) == 2


def test_follow_imports_what_comes_until_it_is_interrupted(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "runs.json"
    written(path, said("one"))
    written(folder / "others.json", said("other", trial=2))
    words = ("import", str(folder), *RULE, "--follow", "1", "--json")
    command = [sys.executable, "-W", "ignore", "-m", "synde_pipeline.cli", *words]
    landing = tmp_path / "warehouse" / "landing"

    def wait_for(n: int) -> None:
        deadline = time.monotonic() + 120
        while sum(1 for _ in landing.glob("day=*/*.jsonl")) < n and time.monotonic() < deadline:
            time.sleep(0.2)
        assert sum(1 for _ in landing.glob("day=*/*.jsonl")) == n

    told = tmp_path / "told"
    env = os.environ | {"SYNDE_HOME": str(tmp_path)}
    with (
        told.open("w") as out,
        subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c) as process,
    ):
        try:
            wait_for(2)
            written(path, said("one"), said("two", trial=1))
            wait_for(3)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert b"Traceback" not in process.communicate(timeout=60)[1]
        finally:
            process.kill()
    text, read, decoder = told.read_text("utf-8").strip(), [], json.JSONDecoder()
    while text:
        found, end = decoder.raw_decode(text)
        read.append([row["file"].rpartition("/")[2] for row in found["files"]])
        text = text[end:].strip()
    assert read == [["others.json", "runs.json"], ["runs.json"]]  # what did not change is not read again


def test_follow_reads_again_what_may_hold_more_of_a_changed_file_s_runs(tmp_path):
    """The second half of a trace comes an hour later, in a file of its own: the run is whole, no half wins."""
    folder = tmp_path / "logs"
    folder.mkdir()
    in_order = sorted(EXPORT["observations"], key=lambda one: one["startTime"])
    first, second = in_order[:2], in_order[2:]
    (folder / "a.json").write_text(json.dumps({"trace": TRACE, "observations": first}))
    command = [sys.executable, "-W", "ignore", "-m", "synde_pipeline.cli", "import", str(folder), "--follow", "1"]
    landing = tmp_path / "warehouse" / "landing"

    def lengths() -> list[int]:
        lines = [line for path in landing.glob("day=*/*.jsonl") for line in path.read_text("utf-8").splitlines()]
        return sorted(len(json.loads(line)["steps"]) for line in lines)

    def wait_for(n: int) -> None:
        deadline = time.monotonic() + 120
        while len(lengths()) < n and time.monotonic() < deadline:
            time.sleep(0.2)

    env = os.environ | {"SYNDE_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, preexec_fn=hear_ctrl_c) as process:
        try:
            wait_for(1)
            (half,) = lengths()
            (folder / "b.json").write_text(json.dumps({"trace": TRACE, "observations": second}))
            wait_for(2)
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(EXPORT))
    (run,) = read_file(whole).trajectories
    assert lengths() == [half, len(run.steps)]
    assert half < len(run.steps)


def test_ids_that_hold_personal_data_are_hashed_and_still_name_the_same_run(tmp_path):
    rows = [row | {"traceId": MAIL} for row in EXPORT["observations"]]
    (tmp_path / "run.json").write_text(json.dumps({"trace": TRACE | {"id": MAIL}, "observations": rows}))
    (tmp_path / "scores.json").write_text(json.dumps([score("correct", 1, "BOOLEAN", traceId=MAIL)]))
    found = synde_json("import", str(tmp_path / "run.json"), "--task-id", "trace.id", home=tmp_path)
    assert (found["trajectories"], found["labels_waiting"]) == (1, 0)
    assert synde_json("import", str(tmp_path / "scores.json"), home=tmp_path)["labels"] == 1
    synde("import", str(tmp_path / "run.json"), "--task-id", "trace.id", home=tmp_path)
    files = [path for path in (tmp_path / "warehouse" / "landing").rglob("*") if path.is_file()]
    assert not [path.name for path in files if MAIL.encode() in path.read_bytes()]
    assert sum(len(path.read_bytes().splitlines()) for path in files if path.parent.name == "day=2025-03-01") == 4


def test_a_folder_of_files_that_are_no_logs_is_no_failure(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing of interest")
    result = synde("import", str(tmp_path / "notes.txt"), home=tmp_path, check=False)
    assert result.returncode == 0
    assert "no log" in result.stdout


def test_scan_counts_what_would_go_and_shows_it_masked(tmp_path):
    path = written(tmp_path / "runs.json", said(f"write to {MAIL}"), said(f"write to {MAIL}", trial=1))
    found = synde_json("scan", path, home=tmp_path)
    assert found["found"]["email"] >= 2
    shown = synde("scan", path, home=tmp_path).stdout
    assert MAIL not in shown
    assert MAIL in synde("scan", path, "--show", home=tmp_path).stdout
    assert not (tmp_path / "warehouse").exists()


def test_what_the_allow_list_holds_is_not_found(tmp_path):
    path = written(tmp_path / "runs.json", said(f"write to {MAIL}"))
    before = synde_json("scan", path, home=tmp_path)
    allowed = tmp_path / "warehouse" / "landing" / "redaction-allow.txt"
    assert before["allow_list"] == str(allowed)
    allowed.parent.mkdir(parents=True)
    allowed.write_text(MAIL + "\n")
    after = synde_json("scan", path, home=tmp_path)
    assert before["found"]["email"] - after["found"].get("email", 0) == 1


def test_tau2_files_need_no_rule(tmp_path):
    found = synde_json("import", str(TAU2), home=tmp_path)
    assert (found["undated"], found["quarantined"]) == (0, 0)
