"""The command line as a user meets it: real processes, the whole pipeline on the sample logs, and every mistake."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import synde, synde_json
from synde_pipeline_tests.leaks import found_leaks, leaked_texts, stored_texts
from synde_pipeline_tests.models_for_tests import save_model

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
QUICK = {"SYNDE_PRETRAIN_STEPS": "20", "SYNDE_TRAINING_EPOCHS": "1"}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A home in which the sample logs went through the whole pipeline once."""
    home = tmp_path_factory.mktemp("done")
    (home / "stdout").write_text(synde("run", str(SAMPLES), home=home, **QUICK).stdout)
    return home


def artefact_hashes(home: Path) -> dict[str, str]:
    warehouse = Warehouse(home / "warehouse")
    names = ("raw_logs", "reflections", "memory_deltas", "curated_memory", "training_examples", "cycles")
    names += ("training_shards", "adapters", "merged_models", "eval_reports")
    found = {f"{name}/{key}": warehouse.header(name, key) for name in names for key in warehouse.keys(name)}
    return {name: header.content_hash for name, header in found.items() if header}


def test_run_ends_with_the_four_arm_table_and_the_reports_path(done):
    text = (done / "stdout").read_text()
    assert "180 trajectories carry no time: spread over the 14 days ending 2025-01-14, each file evenly" in text
    for arm in ("none", "context", "weights", "dual"):
        assert re.search(rf"^{arm} +\d+ +\d\.\d{{3}} \[", text, re.MULTILINE)
    path = re.search(r"^report: (\S+report\.html)$", text, re.MULTILINE)
    assert path
    assert Path(path.group(1)).exists()
    assert Path(path.group(1)).with_name("report.json").exists()


def test_status_prints_one_object_with_the_contracts_keys(done):
    found = synde_json("status", home=done)
    keys = {"trajectories", "successes", "quarantined", "reflections", "memory_items", "examples", "cycles"}
    assert keys | {"adapters", "models", "champion", "latest_report"} <= set(found)
    assert found["trajectories"] == found["reflections"] == 180
    assert found["cycles"] == found["adapters"] == found["models"] == 1
    assert found["memory_items"] > 5
    assert Path(found["latest_report"]).exists()


def test_sql_reads_the_parquet_files(done):
    rows = synde_json("sql", "select count(*) as n, sum(len(steps)) as steps from raw_logs", home=done)["rows"]
    assert rows[0]["n"] == 180
    assert rows[0]["steps"] > 500
    wrong = synde("sql", "select * from nowhere", home=done, check=False)
    assert wrong.returncode == 2
    assert "raw_logs" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert "query is empty" in synde("sql", "", home=done, check=False).stderr
    outside = synde("sql", "select * from read_text('/etc/hostname')", home=done, check=False)
    assert "Cannot access file" in outside.stderr


def test_a_second_run_changes_nothing_and_trains_nothing(done):
    before = artefact_hashes(done)
    adapter = next((done / "warehouse" / "adapters").rglob("adapter_model.safetensors"))
    written = adapter.stat().st_mtime_ns
    again = synde_json("run", str(SAMPLES), home=done, **QUICK)
    assert (again["days"], again["cycles"]) == ([], [])
    assert artefact_hashes(done) == before
    assert adapter.stat().st_mtime_ns == written


def test_nothing_stored_holds_what_the_agent_never_saw(done):
    hidden = leaked_texts(SAMPLES)
    assert len(hidden) > 50
    stored = stored_texts(done)
    assert len(stored) > 20
    assert found_leaks(hidden, stored) == []


def start(home: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "SYNDE_HOME": str(home), "SYNDE_EMBEDDER": "hashing", **QUICK}
    words = [sys.executable, "-m", "synde_pipeline.cli", "run"]
    return subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills", [pytest.param([9.0], id="once"), pytest.param([4.0 + k for k in range(20)], id="x20")]
)
def test_a_run_that_was_killed_goes_on_where_it_was_and_ends_the_same(kills, done, tmp_path):
    shutil.copytree(done / "warehouse" / "landing", tmp_path / "warehouse" / "landing")
    for delay in kills:
        process = start(tmp_path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    synde("run", home=tmp_path, **QUICK)
    assert artefact_hashes(tmp_path) == artefact_hashes(done)


def test_ctrl_c_says_that_nothing_is_half_written_and_shows_no_traceback(done, tmp_path):
    shutil.copytree(done / "warehouse" / "landing", tmp_path / "warehouse" / "landing")
    process = start(tmp_path)
    for line in process.stdout:  # stop it inside the cycle's run
        if "cycle library-0001" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("import", "/no/such/path"), 2, "/no/such/path does not exist"),
        (("import", "{samples}"), 2, "--start-day"),
        (("import", "{samples}", "--start-day", "2025-01-01"), 2, "belong together"),
        (("import", "{samples}", "--format", "soap", "--start-day", "2025-01-01", "--per-day", "5"), 2, "soap"),
        (("import", "{samples}", "--start-day", "yesterday", "--per-day", "5"), 2, "yesterday"),
        (("run", "{root}/synde_pipeline"), 2, "no trajectory in"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_a_users_mistake_gets_one_clear_message_and_no_traceback(words, code, says, tmp_path):
    filled = [word.format(samples=SAMPLES, root=ROOT) for word in words]
    result = synde(*filled, home=tmp_path, check=False)
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_import_json_counts_files_and_totals(tmp_path):
    rule = ("--start-day", "2025-02-01", "--per-day", "20")
    found = synde_json("import", str(SAMPLES), *rule, home=tmp_path)
    (row,) = [row for row in found["files"] if row["format"]]
    assert (row["format"], row["trajectories"], row["quarantined"]) == ("tau-bench", 180, 0)
    assert "info" in row["dropped_fields"]
    assert found["trajectories"] == 180
    assert len(list((tmp_path / "warehouse" / "landing").glob("day=*"))) == 9
    again = synde_json("import", str(SAMPLES), *rule, home=tmp_path)
    assert (again["trajectories"], again["duplicates"]) == (180, 180)


def test_a_file_of_nothing_but_bad_rows_is_quarantined_and_exits_1(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('[{"task_id": 1, "reward": 7, "traj": []}, {"task_id": 2, "reward": 0, "traj": [')
    result = synde("import", str(bad), "--json", home=tmp_path, check=False)
    assert result.returncode == 1
    assert json.loads(result.stdout)["quarantined"] == 2
    assert synde_json("status", home=tmp_path)["quarantined"] == 2


def test_an_empty_warehouse_says_so(tmp_path):
    assert synde_json("status", home=tmp_path)["trajectories"] == 0
    assert "no training cycle yet" in synde("run", home=tmp_path).stdout


def test_a_base_model_that_does_not_exist_is_named_before_anything_starts(tmp_path):
    synde("import", str(SAMPLES), "--start-day", "2025-02-01", "--per-day", "20", home=tmp_path)
    for name in ("/no/such/model", "nobody/nothing"):
        result = synde("run", home=tmp_path, check=False, SYNDE_BASE_MODEL=name)
        assert result.returncode == 1
        assert name in result.stderr
        assert "SYNDE_BASE_MODEL" in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "warehouse" / "raw_logs").exists()


def test_a_users_own_model_goes_through_the_whole_pipeline_and_is_pinned(tmp_path):
    model = save_model(tmp_path / "model", "gpt2")
    own = {"SYNDE_BASE_MODEL": str(model), "SYNDE_WINDOW": "512", "SYNDE_TRAINING_EPOCHS": "1"}
    found = synde_json("run", str(SAMPLES), home=tmp_path, **own)
    assert found["report"]["base"]["name"] == str(model)
    assert len(found["cycles"]) == 1
    other = save_model(tmp_path / "other", "llama")
    mixed = synde("run", home=tmp_path, check=False, SYNDE_BASE_MODEL=str(other))
    assert mixed.returncode == 1
    assert "pinned" in mixed.stderr
    unset = synde("run", home=tmp_path, check=False)
    assert "pinned to the base" in unset.stderr


def test_a_setting_outside_its_range_is_named(tmp_path):
    result = synde("status", home=tmp_path, check=False, SYNDE_WINDOW="7")
    assert result.returncode == 2
    assert "SYNDE_WINDOW is '7'" in result.stderr


def test_every_command_explains_itself(tmp_path):
    listed = synde("--help", home=tmp_path).stdout
    for command in ("demo", "import", "run", "status", "sql", "base", "pretrain", "ui"):
        assert command in listed
        assert len(synde(command, "--help", home=tmp_path).stdout.splitlines()) > 5
    contract = " ".join(synde("import", "--help", home=tmp_path).stdout.split())
    assert "files [file, format, trajectories" in contract  # rich would take it for markup


@pytest.mark.parametrize("command", ["ui", "serve"])
def test_a_port_that_is_taken_is_an_error_in_words_before_anything_starts(command, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = synde(command, "--port", str(taken.getsockname()[1]), home=tmp_path, check=False)
    assert done.returncode == 2
    assert "cannot be had" in done.stderr
    assert "--port" in done.stderr
