"""`synde run` killed at random instants: no cycle is lost, none is frozen or trained twice, and the end is the same."""

from datetime import timedelta
from pathlib import Path

import pytest

from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import arrivals
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline_tests.defs.small import logs_of
from synde_pipeline_tests.helpers import DAY, land
from synde_pipeline_tests.killing import kill_until_done, work
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.removal.history import state_of


@pytest.mark.slow
def test_a_run_killed_ten_times_freezes_and_trains_each_cycle_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNDE_CYCLE_THRESHOLD", "4")
    monkeypatch.setenv("SYNDE_TRAINING_EPOCHS", "1")
    monkeypatch.setenv("SYNDE_WINDOW", "256")
    finished: dict[tuple[Path, str], int] = {}

    def start(home: Path):
        warehouse = Warehouse(home / "warehouse")
        if not home.exists():
            pin_tiny(warehouse)
            for domain in ("archive", "library"):
                land(warehouse, logs_of([DAY, DAY + timedelta(1)], per_day=4, domain=domain), name=domain)
        return work("synde_pipeline_tests.defs.run_work", home)

    def check(home: Path):
        warehouse = Warehouse(home / "warehouse")
        frozen = cycles(warehouse)
        named = [key for record in arrivals(warehouse) for key in record.frozen]
        assert len(named) == len(set(named))
        assert {cycle.key for cycle in frozen} <= set(named)
        claimed = [{row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, c.key)} for c in frozen]
        assert sum(map(len, claimed)) == len(set().union(*claimed))
        for key in warehouse.keys("adapters"):
            published = (warehouse.path("adapters", key) / "current.json").stat().st_mtime_ns
            assert finished.setdefault((home, key), published) == published, "what is trained is not trained again"
        return state_of(warehouse)

    state = kill_until_done(start, check, tmp_path, times=10)
    assert {"adapters[archive-0001]", "adapters[library-0001]", "eval_reports[library-0001]"} <= set(state)
