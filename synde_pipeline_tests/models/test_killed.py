"""Merging, promoting, going back and collecting, killed at random instants: whole versions only, and the same end."""

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
from synde_pipeline_tests.models.test_bank import trained
from synde_pipeline_tests.models.test_overrule import SEQUENTIAL, judged
from synde_pipeline_tests.models_for_tests import pin_tiny


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three cycles of one ledger that all passed."""
    warehouse = Warehouse(tmp_path_factory.mktemp("template") / "warehouse")
    pin_tiny(warehouse)
    for k in range(3):
        judged(warehouse, trained(warehouse, DAY + timedelta(k), "site:a", config=SEQUENTIAL)[0], passed=True)
    return warehouse.root


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
    adapters = files_hash(template / ADAPTERS)

    def served(home):
        if not home.exists():
            return None
        known = champion(Warehouse(home))
        found = models(home)
        for one in known.domains.values():
            header = Warehouse(home).header(MERGED, one.cycle)
            assert not is_collected(Warehouse(home), header)
            assert found[one.cycle] == one.model
        assert files_hash(home / ADAPTERS) == adapters
        return known.hash, found

    kill_until_done(
        lambda home: work("synde_pipeline_tests.models.kill_work", home, str(template), "move"),
        served,
        tmp_path,
        seed=2,
    )
