"""Training, merging, promoting and collecting, killed at random instants: whole versions only, and the same end."""

from datetime import timedelta

import pytest

from synde_pipeline.lineage import FILE as LINEAGE
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import champion
from synde_pipeline.models.serve_as import is_collected
from synde_pipeline.storage import Warehouse, files_hash
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.killing import kill_until_done, work
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models.test_overrule import SEQUENTIAL, judged
from synde_pipeline_tests.models_for_tests import pin_tiny


def passed(folder, config):
    """Three cycles that all passed."""
    warehouse = Warehouse(folder / "warehouse")
    pin_tiny(warehouse)
    for k in range(3):
        judged(warehouse, trained(warehouse, DAY + timedelta(k), "site:a", config=config)[0], passed=True)
    return warehouse.root


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Of one ledger."""
    return passed(tmp_path_factory.mktemp("template"), SEQUENTIAL)


def adapters(home) -> dict[str, str]:
    """Every cycle's adapters that lie in a home: content as recorded, whole."""
    warehouse = Warehouse(home)
    found = {key: warehouse.header(ADAPTERS, key).content_hash for key in warehouse.keys(ADAPTERS)}
    for key, recorded in found.items():
        assert files_hash(warehouse.folder(ADAPTERS, key), without=[LINEAGE]) == recorded
    return found


@pytest.mark.slow
@pytest.mark.parametrize("config", [SETTINGS, SEQUENTIAL], ids=["routed", "sequential"])
def test_training_killed_twenty_times_leaves_whole_adapters_and_ends_the_same(config, tmp_path):
    template = passed(tmp_path / "template", config)
    end = kill_until_done(
        lambda home: work("synde_pipeline_tests.models.kill_work", home, str(template), "train"),
        adapters,
        tmp_path,
        seed=3,
    )
    assert end == adapters(template)
    assert len(end) == 3


def models(home) -> dict[str, str]:
    """Every model that lies in a home under its name: content as recorded, whole."""
    warehouse = Warehouse(home)
    found = {}
    for key in warehouse.keys(MERGED):
        header = warehouse.header(MERGED, key)
        if not is_collected(warehouse, header):
            assert files_hash(warehouse.folder(MERGED, key), without=[LINEAGE]) == header.content_hash
        found[key] = header.content_hash
    return found


@pytest.mark.slow
def test_merging_killed_twenty_times_leaves_whole_models_and_ends_the_same(template, tmp_path):
    end = kill_until_done(
        lambda home: work("synde_pipeline_tests.models.kill_work", home, str(template), "merge"),
        models,
        tmp_path,
        seed=1,
    )
    assert end == models(template)
    assert len(end) == 3


@pytest.mark.slow
def test_moving_the_champion_killed_twenty_times_always_serves_a_whole_model_and_ends_the_same(template, tmp_path):
    before = adapters(template)

    def served(home):
        if not home.exists():
            return None
        known = champion(Warehouse(home))
        found = models(home)
        for one in known.domains.values():
            header = Warehouse(home).header(MERGED, one.cycle)
            assert not is_collected(Warehouse(home), header)
            assert found[one.cycle] == one.model
        assert adapters(home) == before
        return known.hash, found

    kill_until_done(
        lambda home: work("synde_pipeline_tests.models.kill_work", home, str(template), "move"),
        served,
        tmp_path,
        seed=2,
    )
