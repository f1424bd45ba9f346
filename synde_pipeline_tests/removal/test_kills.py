"""A removal that is killed at any instant is finished by the next one, and ends as if nothing had happened (law 3)."""

import shutil
from pathlib import Path

import pytest

from synde_pipeline.logs.tombstones import active_path, tombstones
from synde_pipeline.models.registry import champion
from synde_pipeline.removal.plan import hashes
from synde_pipeline.removal.remove import certificates
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.killing import kill_until_done, work
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.removal.history import SCRIPT, live, settings_of, state_of
from synde_pipeline_tests.removal.removing import UID


@pytest.mark.slow
def test_a_removal_killed_at_twenty_instants_equals_an_undisturbed_one(tmp_path):
    prepared = Warehouse(tmp_path / "prepared" / "warehouse")
    pin_tiny(prepared)
    live(prepared, settings_of("sequential", tmp_path), SCRIPT)
    before = state_of(prepared)

    def start(home: Path):
        if not home.exists():
            shutil.copytree(tmp_path / "prepared", home)
        return work("synde_pipeline_tests.removal.removing", home)

    def check(home: Path):
        warehouse = Warehouse(home / "warehouse")
        hashes(warehouse)  # every header can be read
        champion(warehouse)
        state = state_of(warehouse)
        if not active_path(warehouse).exists() and not certificates(warehouse):
            assert state == before
        if not active_path(warehouse).exists() and certificates(warehouse):
            held = [path for path in warehouse.root.rglob("*") if path.is_file() and UID.encode() in path.read_bytes()]
            assert held == []
        numbers = [one["number"] for one in certificates(warehouse)]
        assert numbers in ([], ["0001"])
        return state, sorted(tombstones(warehouse).uids), [one["changed"] for one in certificates(warehouse)]

    state, stones, (changed,) = kill_until_done(start, check, tmp_path)
    assert state != before
    assert len(stones) == 1
    assert {name for name in changed if name.startswith("adapters[")}
