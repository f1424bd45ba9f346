"""The closed loop, really lived: logs land like anybody's, days are published whole, a second call changes nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from synde_pipeline.defs.evaluation import GATE
from synde_pipeline.defs.instance import open_instance
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.models.registry import champion
from synde_pipeline.records import split_of
from synde_pipeline.settings import load
from synde_pipeline.simulation.demo import closing, over_seeds
from synde_pipeline.simulation.loop import FILE
from synde_pipeline.simulation.tasks import date_of, places, tasks_of_day
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import cycles
from synde_pipeline_tests.simulation.demo_process import ARMS, demo, small

DAYS = 3


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """The small demo, undisturbed."""
    home = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    return home, demo(home, DAYS, said.append), said


@pytest.fixture
def lab(lived):
    return Warehouse(lived[1].settings.warehouse)


def test_every_day_tells_its_row_and_the_page_shows_them(lived):
    _, outcome, said = lived
    assert outcome.n_lived == DAYS == len(outcome.rows)
    assert len(said) == 1 + DAYS
    assert outcome.picture.read_bytes()[:4] == b"\x89PNG"
    page = outcome.page.read_text("utf-8")
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    for row in outcome.rows:
        assert row.n == 24
        assert set(row.arms) == set(ARMS)
        assert f"<td>{row.n_success} of 24</td>" in page
    text = closing(outcome, ARMS)
    assert str(outcome.page) in text
    assert "new places" in text
    assert "nothing was done" not in text


def test_a_day_landed_as_what_the_agent_did(lived, lab):
    config = lived[1].settings.simulation
    logged = load_raw_logs(lab, date_of(2))
    tasks = {task.task_id: task for task in tasks_of_day(config, 2)}
    assert {item.task_id for item in logged} == tasks.keys()
    scopes = {place.scope for place in places(config, 2)}
    for item in logged:
        task = tasks[item.task_id]
        assert item.task == task.text
        assert item.scope in scopes
        assert item.label_source == "verifier"
        answered = [step.arguments for step in item.steps if step.tool == "answer"]
        assert (item.outcome == "success") == (answered[-1:] == [task.value])
    assert any(item.shown_memory for item in logged)  # day 1 taught something
    assert not any(item.shown_memory for item in load_raw_logs(lab, date_of(1)))


def test_only_train_tasks_were_learned_from_and_cycles_were_judged(lab):
    found = cycles(lab)
    assert found
    judged = {decision.cycle for decision in champion(lab).history}
    assert judged == {cycle.key for cycle in found}
    for cycle in found:
        claimed = lab.read_table("cycles", cycle.key).to_pylist()
        assert {split_of(row["metadata"]["task_id"]) for row in claimed} == {"train"}
        report = json.loads((lab.folder("eval_reports", cycle.key) / "report.json").read_text("utf-8"))
        assert report["gate"]["n"] == 8
        assert set(report["arms"]) == set(ARMS)
        assert report["arms"]["dual"]["n"] == 8


def test_a_rejected_candidate_left_green_runs_and_a_failed_check_that_says_why(lived, lab):
    """Eight tasks show nothing: the champion stayed, which a person sees beside the asset and no run fails for."""
    key = dg.AssetCheckKey(dg.AssetKey("promoted_model"), GATE)
    with open_instance(lived[1].settings) as instance:
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=20)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
    found = [record.event.dagster_event.asset_check_evaluation_data for record in records]
    decided = champion(lab).history
    assert sorted(one.passed for one in found) == sorted(item.accepted for item in decided)
    warned = [one for one in found if not one.passed]
    assert warned
    assert {one.severity for one in warned} == {dg.AssetCheckSeverity.WARN}
    reasons = {item.reason for item in decided if not item.accepted}
    assert {one.metadata["reason"].value for one in warned} == reasons
    assert all("insufficient evidence" in reason for reason in reasons)


def test_the_same_call_again_changes_nothing_and_says_so(lived):
    home, before, _ = lived
    files = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file() and "dagster" not in str(path)}
    again = demo(home, DAYS)
    assert (again.n_lived, again.state) == (0, before.state)
    assert "nothing was done" in closing(again, ARMS)
    changed = {path.name for path, seen in files.items() if path.stat().st_mtime_ns != seen}
    assert changed <= {"curve.png", "demo.html"}


@pytest.mark.slow
def test_the_same_seed_lives_the_same_life_elsewhere(lived, tmp_path):
    again = demo(tmp_path, DAYS)
    assert again.state == lived[1].state
    assert [row.arms for row in again.rows] == [row.arms for row in lived[1].rows]
    assert "mean (se over seeds)" in over_seeds([lived[1], again], ARMS)


def test_a_home_of_the_demo_carries_its_own_settings(lived, monkeypatch):
    monkeypatch.setenv("SYNDE_HOME", str(lived[1].settings.home))
    monkeypatch.delenv("SYNDE_EMBEDDER", raising=False)
    assert load() == lived[1].settings


@pytest.mark.slow
def test_a_foreign_log_beside_the_agents_is_kept(tmp_path):
    """The agent's day is published beside what lies in landing already, never over it."""
    settings = small(tmp_path)
    folder = Warehouse(settings.warehouse).path("landing", str(date_of(1)))
    folder.mkdir(parents=True)
    (folder / "agent.jsonl").write_text("no trajectory\n", "utf-8")
    demo(tmp_path, 1)
    assert (folder / "agent.jsonl").read_text("utf-8") == "no trajectory\n"
    assert (folder / f"{FILE}.jsonl").exists()


# -- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_demo_killed_at_ten_random_instants_ends_in_the_same_state(lived, tmp_path):
    chance = random.Random(20261125)
    started = time.monotonic()
    state = _finish(tmp_path / "timed")
    took = time.monotonic() - started
    assert state == lived[1].state
    n_killed = 0
    while n_killed < 10:
        process = _start(tmp_path / "killed")
        try:
            process.wait(chance.uniform(0.2, 1.0) * took)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            n_killed += 1
        else:
            # It was faster than the clock: begin another life, so that ten kills hit something.
            assert process.stdout.read().split()[-1] == state
            (tmp_path / "killed").rename(tmp_path / f"done-{n_killed}-{time.monotonic_ns()}")
        finally:
            process.wait()
            process.stdout.close()
    assert _finish(tmp_path / "killed") == state


def _start(home: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-W", "ignore", "-m", "synde_pipeline_tests.simulation.demo_process", str(home), str(DAYS)]
    with home.with_suffix(".err").open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout.readline() == "started\n"
    return process


def _finish(home: Path) -> str:
    process = _start(home)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, home.with_suffix(".err").read_text("utf-8")[-3000:]
    return out.split()[-1]
