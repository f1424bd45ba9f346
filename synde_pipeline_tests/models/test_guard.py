"""What a cycle protects: earlier inputs (null space), earlier predictions (EWC), the base by its own data."""

from datetime import timedelta

import pytest

from synde_pipeline.base_model import load
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.compose import ADAPTERS, ledger_before
from synde_pipeline.models.guard import guarded
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.settings import BufferConfig, TrainingConfig
from synde_pipeline.training.base_replay import Texts
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import publish_shard
from synde_pipeline.training.lora import read
from synde_pipeline.training.null_space import Projection
from synde_pipeline.training.null_space import load as load_moments
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_cycle import SETTINGS
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.training.test_buffer import arrive

QUICK = {"max_steps": 8, "learning_rate": 1e-2}
GIVEN = Texts(((5, 90, 17, 200), (9, 8, 7)))


def frozen(warehouse, number, config):
    """A cycle of three trajectories of its own day, packed."""
    arrive(warehouse, DAY + timedelta(number), [f"t{number}:{k}" for k in range(3)], name=f"t{number}")
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    publish_shard(warehouse, cycle, SETTINGS.model_copy(update={"training": config}))
    return cycle


def trained(warehouse, number, config, **given):
    cycle = frozen(warehouse, number, config)
    train_cycle(warehouse, cycle, config, **given)
    merge_cycle(warehouse, cycle)
    return cycle


@pytest.fixture
def pinned(warehouse):
    pin_tiny(warehouse)
    return warehouse


def test_under_the_null_space_a_second_adapter_is_blind_to_the_directions_of_the_first_cycle(pinned):
    config = TrainingConfig(composition="null_space", **QUICK)
    first, second = (trained(pinned, number, config) for number in range(2))
    held = pinned.header("input_moments", first.key)
    assert held.inputs["training_shards"] == pinned.header("training_shards", first.key).content_hash
    third = trained(pinned, 2, config.model_copy(update={"composition": "sequential", "old_logs": 0.0}))
    blind, seeing = (read(pinned.folder(ADAPTERS, cycle.key)).matrices for cycle in (second, third))
    for name, u in Projection.of(load_moments(pinned, [first.key])).directions.items():
        assert (blind[name][0] @ u).norm() < 1e-5 * blind[name][0].norm()
        assert (seeing[name][0] @ u).norm() > 0.1 * seeing[name][0].norm()


@pytest.mark.parametrize("kind", ["kfac", "diagonal"])
def test_ewc_measures_each_cycle_of_the_ledger_once_and_holds_the_next_adapter_back(pinned, kind):
    plain = TrainingConfig(composition="sequential", old_logs=0.0, max_steps=24, learning_rate=3e-3)
    trained(pinned, 0, plain)
    second = frozen(pinned, 1, plain)
    sizes = {}
    for strength in (0.0, 100.0):
        config = plain.model_copy(update={"ewc": kind, "ewc_strength": strength})
        train_cycle(pinned, second, config)
        weights = read(pinned.folder(ADAPTERS, second.key))
        sizes[strength] = sum(float((b @ a).square().sum()) for a, b in weights.matrices.values())
    assert sizes[100.0] < 0.5 * sizes[0.0]
    path = pinned.path("fisher", "library-0001") / "current.json"
    written = path.stat().st_mtime_ns
    merge_cycle(pinned, second)
    trained(pinned, 2, config)
    assert pinned.keys("fisher") == ["library-0001", "library-0002"]
    assert path.stat().st_mtime_ns == written


def test_nothing_is_guarded_on_an_empty_ledger_or_by_default(pinned):
    config = TrainingConfig(composition="null_space", ewc="kfac", **QUICK)
    run = guarded(pinned, [], config)
    assert (run.penalty, run.after_step) == (None, None)
    trained(pinned, 0, TrainingConfig(**QUICK))
    second = trained(pinned, 1, TrainingConfig(**QUICK))
    run = guarded(pinned, ledger_before(pinned, second, load(pinned).hash), TrainingConfig(**QUICK))
    assert (run.penalty, run.after_step) == (None, None)
    assert pinned.keys("fisher") == pinned.keys("input_moments") == []


@pytest.mark.parametrize("composition", ["sequential", "routed"])
def test_the_bases_own_data_is_part_of_the_lineage_and_changes_what_is_learned(pinned, composition):
    config = TrainingConfig(composition=composition, **QUICK)
    cycle = trained(pinned, 0, config)
    without = pinned.header(ADAPTERS, cycle.key)
    assert "base_replay" not in without.inputs
    mixed = config.model_copy(update={"base_replay": 0.5})
    train_cycle(pinned, cycle, mixed, GIVEN)
    given = pinned.header(ADAPTERS, cycle.key)
    assert given.inputs["base_replay"] == GIVEN.hash
    assert given.content_hash != without.content_hash
    assert train_cycle(pinned, cycle, mixed, Texts(GIVEN.ids))[1] is False
    if composition == "routed":
        return
    assert train_cycle(pinned, cycle, mixed)[1] is True  # sampled from the base: other data, another adapter
    (key,) = pinned.keys("base_replay")
    assert pinned.header(ADAPTERS, cycle.key).inputs["base_replay"] == pinned.header("base_replay", key).content_hash
