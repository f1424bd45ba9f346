"""A run of 200,000 steps is read, landed, validated and comes back as it was; a day may have hundreds of files."""

import json
import resource
from datetime import date

import pytest

from synde_pipeline.logs.daily import load_raw_logs, publish_raw_logs
from synde_pipeline.logs.landing import file_import
from synde_pipeline.logs.reading import read_file
from synde_pipeline.logs.validate import read_day
from synde_pipeline_tests.helpers import DAY, trajectory
from synde_pipeline_tests.logs.test_chat_logs import ASK, answer, call
from synde_pipeline_tests.logs.test_landing import dropped_in, line

N_STEPS = 200_000


@pytest.mark.slow
def test_a_run_of_many_steps_comes_back_from_the_raw_logs(tmp_path, warehouse):
    turns = (turn for k in range(N_STEPS) for turn in (call("look", {"bed": k}, f"c{k}"), answer(f"dry {k}", f"c{k}")))
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({"messages": [ASK, *turns], "created": 1_740_000_000}))
    found = read_file(path)
    (run,) = found.trajectories
    assert len(run.steps) == N_STEPS
    assert file_import(warehouse, found, date(2025, 1, 1), date(2025, 6, 1)).n_new == 1
    assert publish_raw_logs(warehouse, run.day).counts["rows_out"] == 1
    assert load_raw_logs(warehouse, run.day) == [run]


def test_a_day_may_have_more_files_than_a_process_may_hold_open(warehouse):
    for k in range(200):
        dropped_in(warehouse, line(trajectory(f"test:{k:03}")) + b"\n", name=f"part-{k}")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, limits[1]))
    try:
        assert len(read_day(warehouse, DAY).table) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
