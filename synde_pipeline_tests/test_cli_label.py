"""`synde label` as a person uses it: the run moves to the label's day, those days alone are made again."""

import json
import shutil

import pytest

from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import synde, synde_json
from synde_pipeline_tests.sample_logs import TAU2


@pytest.fixture
def imported(tmp_path):
    synde("import", str(TAU2), home=tmp_path)
    synde("run", home=tmp_path, SYNDE_PRETRAIN_STEPS="2", SYNDE_CYCLE_THRESHOLD="100000")
    return tmp_path


CHAT = {"messages": [{"role": "user", "content": "Water bed 3."}, {"role": "assistant", "content": "Done."}]}
FAST = {"SYNDE_PRETRAIN_STEPS": "2", "SYNDE_CYCLE_THRESHOLD": "100000"}


def chats(path, n=3):
    """Runs of three days that nobody judged, with a number that a rule may be about."""
    rows = [CHAT | {"timestamp": f"2025-03-0{k + 1}T10:00:00Z", "metadata": {"quality": k}} for k in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_logs_without_a_label_end_in_words_on_what_one_would_add_and_the_commands_work(tmp_path):
    path = chats(tmp_path / "chats.jsonl")
    told = synde("run", path, home=tmp_path, **FAST).stdout
    assert "None of 3 runs carries a label" in told
    assert "No judge was configured" in told
    assert "no gate" in told
    judged = synde("run", home=tmp_path, SYNDE_JUDGE="rules", **FAST).stdout
    assert "A judge read 3 of them: 0 success, 3 failure" in judged
    shown = synde("import", "--dry-run", path, home=tmp_path).stdout
    assert "score quality: 3 times, 0 to 2" in shown
    assert synde_json("import", path, "--outcome", "score:quality>=1", home=tmp_path)["labels"] == 3
    told = synde("run", home=tmp_path, **FAST).stdout
    assert "carries a label" not in told
    assert sorted(run.outcome for run in runs(tmp_path)) == ["failure", "success", "success"]
    found = synde_json("status", home=tmp_path)
    assert (found["trajectories"], found["labelled"], found["superseded"]) == (3, 3, 3)


@pytest.mark.slow
def test_status_tells_labels_that_wait_from_those_whose_runs_left_landing(tmp_path):
    synde("import", chats(tmp_path / "chats.jsonl", 2), home=tmp_path)
    synde("run", home=tmp_path, **FAST)
    landing, (one, other) = tmp_path / "warehouse" / "landing", runs(tmp_path)
    for uid in (one.trace_uid, other.trace_uid):
        synde("label", uid, "success", "--at", "2025-03-05", home=tmp_path)
    synde("run", home=tmp_path, **FAST)
    shutil.rmtree(landing / f"day={one.day}")
    assert synde_json("status", home=tmp_path)["labels_too_late"] == 0  # it had reached the run before
    said = {"trace_uid": one.trace_uid, "outcome": "failure", "label_source": "human", "at": "2025-03-06T00:00:00Z"}
    (landing / "day=2025-03-06").mkdir()
    lines = [json.dumps(said), json.dumps(said | {"trace_uid": "nobody:1"})]
    (landing / "day=2025-03-06" / "labels-mine.jsonl").write_text("\n".join(lines) + "\n")
    found = synde_json("status", home=tmp_path)
    assert (found["labels_too_late"], found["labels_waiting"]) == (1, 1)


def runs(home):
    warehouse = Warehouse(home / "warehouse")
    return [run for day in warehouse.keys("raw_logs") for run in load_raw_logs(warehouse, day)]


def test_a_label_moves_a_run_to_its_day_and_exactly_two_days_are_made_again(imported):
    before = {run.trace_uid: run for run in runs(imported)}
    run = min(before.values(), key=lambda one: one.trace_uid)
    said = synde_json("label", run.trace_uid, "failure", "--at", "2025-11-01", home=imported)
    assert said["day"] == "2025-11-01"
    done = synde_json("run", home=imported, SYNDE_PRETRAIN_STEPS="2", SYNDE_CYCLE_THRESHOLD="100000")
    assert done["days"] == sorted([str(run.day), "2025-11-01"])
    after = {one.trace_uid: one for one in runs(imported)}
    assert after.keys() == before.keys()
    moved = after.pop(run.trace_uid)
    assert (str(moved.day), moved.outcome, moved.label_source) == ("2025-11-01", "failure", "human")
    assert all(after[uid] == before[uid] for uid in after)


def test_a_label_of_nobodys_run_and_words_that_are_none_say_what_is_expected(tmp_path):
    synde("import", str(TAU2), home=tmp_path)
    uid = json.loads(next((tmp_path / "warehouse" / "landing").glob("day=*/*.jsonl")).read_text().splitlines()[0])
    for words, says in (
        (("nobody:1", "success"), "no run nobody:1"),
        ((uid["trace_uid"], "good"), "success or failure or partial"),
        ((uid["trace_uid"], "success", "--by", "me"), "human or user or judge or verifier"),
        ((uid["trace_uid"], "success", "--at", "2999-01-01"), "a time that has come"),
    ):
        result = synde("label", *words, home=tmp_path, check=False)
        assert result.returncode != 0
        assert says in result.stderr
        assert "Traceback" not in result.stderr
