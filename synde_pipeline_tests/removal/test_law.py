"""Law 8: after a removal everything equals a history in which the same arrivals came without it."""

import json

import pytest

from synde_pipeline.logs.tombstones import hashed
from synde_pipeline.models.merge import MERGED
from synde_pipeline.removal.remove import certificates, plan_of, remove
from synde_pipeline.removal.request import Request
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import cycles
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.removal.history import LATE_LABELS, SCRIPT, live, settings_of, state_of, without


def lived(home, settings, script):
    warehouse = Warehouse(home / "warehouse")
    pin_tiny(warehouse)
    live(warehouse, settings, script)
    return warehouse


@pytest.mark.slow
@pytest.mark.parametrize("uid", ["test:a", "test:d", "test:late", "test:r0", "test:g"])
@pytest.mark.parametrize(
    ("composition", "script"), [("routed", SCRIPT), ("sequential", SCRIPT), ("routed", LATE_LABELS)],
    ids=["routed", "sequential", "late labels"],
)  # fmt: skip
def test_a_trajectory_that_was_removed_was_never_there(tmp_path, composition, script, uid):
    settings = settings_of(composition, tmp_path)
    warehouse = lived(tmp_path / "with", settings, script)
    other = lived(tmp_path / "without", settings, without(script, uid))
    assert len(cycles(warehouse)) >= 3
    assert state_of(warehouse) != state_of(other)
    remove(warehouse, settings, Request(trace=uid))
    assert state_of(warehouse) == state_of(other)
    left = [path for path in warehouse.root.rglob("*") if path.is_file() and uid.encode() in path.read_bytes()]
    assert left == []
    (certificate,) = certificates(warehouse)
    assert certificate["trajectories"] == [hashed(uid)]
    assert uid not in json.dumps(certificate)
    assert warehouse.keys(MERGED)
    with pytest.raises(Exception, match="nothing in the warehouse is meant"):
        plan_of(warehouse, settings, Request(trace=uid))
