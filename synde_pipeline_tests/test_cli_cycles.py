"""`synde train`, `lineage` and `remove` as a user meets them: real processes, a base built from the logs."""

import json
from pathlib import Path

import pytest

from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.records import split_of
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.defs.small import days_from, logs_of
from synde_pipeline_tests.helpers import DAY, land, synde, synde_json
from synde_pipeline_tests.removal.history import state_of

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
KNOBS = {"SYNDE_PRETRAIN_STEPS": "3", "SYNDE_TRAINING_EPOCHS": "1", "SYNDE_CYCLE_THRESHOLD": "999"}


def landed(home: Path, without: str = "") -> Warehouse:
    warehouse = Warehouse(home / "warehouse")
    land(warehouse, [item for item in logs_of(days_from(DAY, 3), per_day=5) if item.trace_uid != without])
    return warehouse


@pytest.mark.slow
def test_train_lineage_and_remove(tmp_path):
    uid = next(t.trace_uid for t in logs_of([DAY], per_day=5) if split_of(t.task_id) == "train")
    home, other = tmp_path / "with", tmp_path / "without"
    warehouse, expected = landed(home), landed(other, uid)
    assert synde_json("train", home=home, **KNOBS)["cycles"] == []
    with_domain = synde("train", "--domain", "library", home=home, check=False, **KNOBS)
    assert (with_domain.returncode, "add --now" in with_domain.stderr) == (2, True)
    assert synde_json("train", "--now", home=home, **KNOBS)["cycles"] == ["library-0001"]
    assert synde_json("train", "--now", home=home, **KNOBS)["cycles"] == []  # what the gate gave back is not new
    for _ in range(2):  # the same arrivals: looked at once, and then trained by a person's wish
        synde("train", *(["--now"] if _ else []), home=other, **KNOBS)

    found = synde_json("lineage", uid, home=home, **KNOBS)
    assert {node["artefact"] for node in found["down"]} >= {"raw_logs", "cycles", "base_model"}
    text = synde("lineage", "library-0001", home=home, **KNOBS).stdout
    assert "claimed by: trajectories" in text
    assert "trained on: adapters[library-0001]" in text
    assert synde("lineage", "nobody", home=home, check=False, **KNOBS).returncode == 2

    plan = synde_json("remove", "--trace", uid, "--dry-run", home=home, **KNOBS)
    assert (plan["trajectories"], plan["base_is_rebuilt"]) == ([uid], True)
    assert plan["trained_again"] == ["library-0001"]
    assert plan["cpu_s"] > 0
    assert "made anew" in synde("remove", "--trace", uid, "--dry-run", home=home, **KNOBS).stdout
    unasked = synde("remove", "--trace", uid, home=home, check=False, **KNOBS)
    assert (unasked.returncode, "add --yes" in unasked.stderr) == (2, True)
    assert synde("remove", home=home, check=False, **KNOBS).returncode == 2

    assert warehouse.keys("banks")  # kept by the runs above, with what goes in them
    (removal,) = synde_json("remove", "--trace", uid, "--yes", home=home, **KNOBS)["removals"]
    assert "base_model" in removal["changed"]
    # Banks are a cache: a removal drops all of them, a history without what went keeps its own.
    without_banks = {name: value for name, value in state_of(expected).items() if not name.startswith("banks[")}
    assert state_of(warehouse) == without_banks
    assert synde_json("remove", "--list", home=home, **KNOBS)["removals"] == [removal]
    assert "removal 0001" in synde("remove", "--list", home=home, **KNOBS).stdout
    assert synde_json("train", home=home, **KNOBS)["cycles"] == []

    # A removal that is under way: others are refused, and `synde run` finishes it.
    left = next(t.trace_uid for t in logs_of(days_from(DAY, 2), per_day=5) if t.trace_uid != uid)
    active_path(warehouse).write_text(json.dumps(interrupted(home, left)))
    rule = ("--start-day", "2025-03-01", "--per-day", "50")
    refused = synde("import", str(SAMPLES), *rule, home=home, check=False, **KNOBS)
    assert (refused.returncode, "removal 0002 of this warehouse is not finished" in refused.stderr) == (1, True)
    synde("run", home=home, **KNOBS)
    assert not active_path(warehouse).exists()
    assert len(synde_json("remove", "--resume", home=home, **KNOBS)["removals"]) == 0
    assert len(synde_json("remove", "--list", home=home, **KNOBS)["removals"]) == 2


def interrupted(home: Path, uid: str) -> dict:
    """The journal that a removal leaves when it is killed at once."""
    from synde_pipeline.removal.inputs import Gone
    from synde_pipeline.removal.remove import _journal
    from synde_pipeline.removal.request import Request
    from synde_pipeline.settings import load

    request = Request(trace=uid)
    return _journal(Warehouse(home / "warehouse"), load(home), request, Gone(frozenset([uid])))
