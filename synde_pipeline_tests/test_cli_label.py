"""`synde label` as a person uses it: the run moves to the label's day, those days alone are made again."""

import json

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
