"""Collecting garbage: nothing that is served, learned or recorded goes, and nothing is trained because of it."""

import os
import shutil
import time
from datetime import timedelta

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synde_pipeline.base_model import load
from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.due import due_cycles
from synde_pipeline.lineage import FILE as LINEAGE
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.store import drop_old_versions, old_versions, read_ledger
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.gc import collect, plan
from synde_pipeline.models.merge import MERGED, merge_cycle, served_model
from synde_pipeline.models.registry import champion
from synde_pipeline.storage import Warehouse, files_hash
from synde_pipeline.training.cycles import cycles
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_bank import trained
from synde_pipeline_tests.models.test_overrule import SEQUENTIAL, go_back, judged
from synde_pipeline_tests.models_for_tests import pin_tiny

IDS = torch.arange(9, 20)[None]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four cycles of one ledger; the gate turned the third down, and the last one has no report yet."""
    warehouse = Warehouse(tmp_path_factory.mktemp("four") / "warehouse")
    pin_tiny(warehouse)
    made = []
    for k, passed in enumerate((True, True, False, None)):
        made.append(trained(warehouse, DAY + timedelta(k), "site:a", config=SEQUENTIAL)[0])
        if passed is not None:
            judged(warehouse, made[-1], passed=passed)
    return warehouse, made


@pytest.fixture
def own(four, tmp_path):
    """A copy of its own for each test."""
    shutil.copytree(four[0].root, tmp_path / "copy")
    return Warehouse(tmp_path / "copy"), four[1]


def finished(warehouse) -> frozenset[str]:
    return frozenset(cycle.key for cycle in cycles(warehouse)) - {cycle.key for cycle in due_cycles(warehouse)}


def model_hash(warehouse, key) -> str:
    return files_hash(warehouse.folder(MERGED, key), without=[LINEAGE])


def planned(warehouse, keep=0):
    return plan(warehouse, finished(warehouse), keep)


def collected(removals) -> set[str]:
    return {item.path.parent.name[-1] for item in removals if item.path.parent.parent.name == MERGED}


def test_old_models_go_but_the_champion_and_what_is_not_judged_stay(own):
    warehouse, made = own
    assert {keep: collected(planned(warehouse, keep)) for keep in range(5)} == {
        0: {"1", "3"},
        1: {"1", "3"},
        2: {"1"},
        3: {"1"},
        4: set(),
    }
    before = {cycle.key: warehouse.header(MERGED, cycle.key) for cycle in made}
    removals = planned(warehouse)
    n_bytes = sum(item.n_bytes for item in removals)
    assert collect(warehouse, removals) == n_bytes > 10_000
    assert planned(warehouse) == []
    assert {cycle.key: warehouse.header(MERGED, cycle.key) for cycle in made} == before
    assert [cycle.key for cycle in due_cycles(warehouse)] == [made[3].key]
    with pytest.raises(InputError, match="--keep is -1"):
        planned(warehouse, -1)


def test_going_back_to_a_collected_model_makes_it_again_and_it_is_then_kept(own):
    warehouse, made = own
    first = warehouse.folder(MERGED, made[0].key)
    before = files_hash(first)
    collect(warehouse, planned(warehouse))
    assert not first.exists()
    go_back(warehouse)
    assert champion(warehouse).domains["library"].cycle == made[0].key
    assert files_hash(first) == before
    assert collected(planned(warehouse)) == {"2"}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["collect", "back", "forth"])), max_size=5))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_collected_the_champion_answers_and_nothing_is_trained(four, tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("drawn") / "warehouse"
    shutil.copytree(four[0].root, folder)
    warehouse, made = Warehouse(folder), four[1]
    expected = {cycle.key: model_hash(warehouse, cycle.key) for cycle in made}
    adapters = files_hash(warehouse.root / ADAPTERS)
    for keep, word in drawn:
        if word == "collect":
            collect(warehouse, planned(warehouse, keep))
        else:
            go_back(warehouse, domain="library", to=made[word == "forth"].key)
        served = champion(warehouse).domains["library"]
        assert torch.isfinite(served_model(warehouse, served)(IDS).logits).all()
        assert model_hash(warehouse, served.cycle) == expected[served.cycle]
        assert files_hash(warehouse.root / ADAPTERS) == adapters
        # The fourth has no report: it is due before and after, and nothing else is.
        assert [cycle.key for cycle in due_cycles(warehouse)] == [made[3].key]
        assert train_cycle(warehouse, made[0], SEQUENTIAL.training)[1] is False
    assert merge_cycle(warehouse, made[0]).content_hash == expected[made[0].key]


def test_leftovers_of_killed_processes_and_finished_trainings_go_and_young_ones_stay(own):
    warehouse, made = own
    old, young = warehouse.path(MERGED, made[0].key) / ".tmp-old", warehouse.path(ADAPTERS, made[0].key) / ".tmp-new"
    file = warehouse.path("raw_logs", str(DAY)) / ".tmp-file"
    for folder in (old, young):
        (folder / "inside").mkdir(parents=True)
        (folder / "inside" / ".tmp-part").write_bytes(b"x" * 100)
    file.write_bytes(b"y" * 10)
    hour_ago = time.time() - 4000
    for path in (old / "inside" / ".tmp-part", old / "inside", old, file):
        os.utime(path, (hour_ago, hour_ago))
    for cycle in (made[0], made[3]):
        (warehouse.path("checkpoints", cycle.key)).mkdir(parents=True)
    found = {item.path for item in planned(warehouse, 9)}
    assert found == {old, file, warehouse.path("checkpoints", made[0].key)}
    collect(warehouse, planned(warehouse, 9))
    assert not any(path.exists() for path in found)
    assert (young / "inside" / ".tmp-part").exists()
    assert load(warehouse).hash


def test_old_versions_of_the_memorys_table_go_and_its_rows_stay(own):
    warehouse, _ = own
    for k in range(3):
        publish_deltas(warehouse, DAY + timedelta(k), SEQUENTIAL.memory)
        publish_memory(warehouse, DAY + timedelta(k))
    deltas, vectors = read_ledger(warehouse)
    assert len(deltas) > 3
    assert old_versions(warehouse) == 0  # young: another process may be at them
    assert planned(warehouse, 9) == []
    assert old_versions(warehouse, timedelta(0)) > 1
    drop_old_versions(warehouse, timedelta(0))
    assert old_versions(warehouse, timedelta(0)) == 0
    again, same = read_ledger(warehouse)
    assert sorted(again, key=str) == sorted(deltas, key=str)
    assert same.shape == vectors.shape
