"""LoRA isolation: whatever is trained, the base's bytes never change, on disk and in memory."""

import hashlib

import pytest

from synde_pipeline.base_model import load
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.null_space import moments_of
from synde_pipeline.training.regularize import fisher_of
from synde_pipeline.training.train import train
from synde_pipeline_tests.models_for_tests import FAMILIES, pin_tiny
from synde_pipeline_tests.training.test_train import ROWS

CONFIG = TrainingConfig(max_steps=16, batch_size=2, learning_rate=2e-2)


def in_memory(model) -> dict[str, str]:
    """Hash of each of the base's parameters and buffers."""
    return {
        name: hashlib.sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in model.state_dict().items()
    }


def on_disk(warehouse) -> dict[str, str]:
    folder = warehouse.folder("base_model", "")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("family", FAMILIES)
def test_training_leaves_every_byte_of_the_base_as_it_was(tmp_path, family):
    warehouse = Warehouse(tmp_path)
    pin_tiny(warehouse, family)
    files = on_disk(warehouse)
    base = load(warehouse)
    before = in_memory(base.model)
    moments_of(base.model, ROWS, pad_id=0)
    fisher_of(base.model, ROWS, "kfac", pad_id=0)
    trained = train(base.model, [ROWS, ROWS[:1]], CONFIG)
    assert trained.curves[0][-1] < trained.curves[0][0]  # it did learn
    trained.bank.remove()
    assert in_memory(base.model) == before
    assert on_disk(warehouse) == files
    assert load(warehouse).hash == base.hash
