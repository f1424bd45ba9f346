"""The recorded tau-bench and tau2-bench logs through the whole pipeline, one after the other, into one warehouse."""

from pathlib import Path

import pytest

from synde_pipeline_tests.helpers import SHARED, needs_shared, synde, synde_json
from synde_pipeline_tests.leaks import found_leaks, leaked_texts, stored_texts

pytestmark = [needs_shared, pytest.mark.slow]  # five minutes: a base and adapters from 432 runs

QUICK = {"SYNDE_PRETRAIN_STEPS": "20", "SYNDE_TRAINING_EPOCHS": "1", "SYNDE_WINDOW": "512"}
FOLDERS = ("tau-bench", "tau2-bench")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("real")
    for name in FOLDERS:
        (home / f"{name}.txt").write_text(synde("run", str(SHARED / name), home=home, **QUICK).stdout)
    return home


def test_all_trajectories_are_in_raw_logs_with_their_outcomes(real):
    found = synde_json("status", home=real)
    assert (found["trajectories"], found["successes"], found["quarantined"]) == (210 + 222, 96 + 154, 0)
    by_source = synde_json(
        "sql", "select source, count(*) n, sum((outcome = 'success')::int) s from raw_logs group by all", home=real
    )["rows"]
    assert sorted((row["source"], row["n"], row["s"]) for row in by_source) == [
        ("tau-bench", 210, 96),
        ("tau2-bench", 222, 154),
    ]


def test_retail_is_one_family_over_both_benchmarks_and_airline_is_two(real):
    query = "select distinct split_part(task_id, ':', 1) f, domain d from raw_logs"
    rows = synde_json("sql", query, home=real)["rows"]
    assert sorted((row["d"], row["f"]) for row in rows) == [("airline", "tau"), ("airline", "tau2"), ("retail", "tau")]


@pytest.mark.parametrize("name", FOLDERS)
def test_each_run_ends_with_a_table_with_n_and_intervals(real, name):
    text, names = (real / f"{name}.txt").read_text(), ["none", "context", "weights", "dual"]
    arms = [cells for cells in map(str.split, text.splitlines()) if cells and cells[0] in names]
    assert [arm[0] for arm in arms[:4]] == names
    assert all(int(arm[1]) >= 10 and arm[3].startswith("[") for arm in arms)
    assert "report: " in text


def test_no_stored_artefact_holds_an_instruction_sentence_or_expected_argument_that_no_agent_saw(real):
    hidden = leaked_texts(*(SHARED / name for name in FOLDERS))
    assert len(hidden) > 500
    stored = stored_texts(real)
    assert sum(map(len, stored)) > 5 * 10**6
    assert found_leaks(hidden, stored) == []
