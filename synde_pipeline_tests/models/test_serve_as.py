"""One adapter for a ledger equals the merged model and loads in plain PEFT; what was collected comes back whole."""

import shutil
from datetime import timedelta

import pytest
import torch
from peft import PeftModel

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import load
from synde_pipeline.errors import BaseModelError, LineageError
from synde_pipeline.models.compose import ADAPTERS, add_adapters
from synde_pipeline.models.merge import MERGED, cycle_model, fresh_merged, merge_cycle, served_model
from synde_pipeline.models.registry import promote, served_of
from synde_pipeline.models.serve_as import cat_adapter, is_collected, kind_for, restore
from synde_pipeline.settings import ModelsConfig
from synde_pipeline.storage import files_hash
from synde_pipeline.training.lora import AdapterWeights, read, write
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_cycle import cycle_on
from synde_pipeline_tests.models.test_stream import adapter
from synde_pipeline_tests.models_for_tests import FAMILIES, pin_tiny, tiny

IDS = torch.arange(9, 20)[None]
AS_ADAPTER = ModelsConfig(serve_as="adapter")


@pytest.mark.parametrize("family", FAMILIES)
def test_one_adapter_equals_the_sum_of_all_and_loads_in_plain_peft(family, tmp_path):
    ledger = [
        (adapter(tiny(family), 1), 1.0),
        (adapter(tiny(family), 2, rank=3), -0.5),
        (adapter(tiny(family), 3), 2.0),
    ]
    partly = AdapterWeights(2.0, dict(list(ledger[2][0].matrices.items())[:2]), ledger[2][0].transposed)
    ledger[2] = (partly, 2.0)
    one = cat_adapter(ledger)
    assert one.scale == 1.0
    assert {a.shape[0] for a, _ in one.matrices.values()} == {5}
    write(one, tmp_path, ("tiny", None), transposed=one.transposed)
    summed = add_adapters(tiny(family), ledger)(IDS).logits
    theirs = PeftModel.from_pretrained(tiny(family), str(tmp_path))(IDS).logits
    assert torch.allclose(theirs, summed, atol=1e-4)
    assert torch.allclose(add_adapters(tiny(family), [(read(tmp_path), 1.0)])(IDS).logits, summed, atol=1e-5)
    assert not torch.allclose(theirs, tiny(family)(IDS).logits, atol=1e-2)


@pytest.fixture
def two(warehouse):
    pin_tiny(warehouse)
    return cycle_on(warehouse, DAY, "one"), cycle_on(warehouse, DAY + timedelta(3), "two")


def test_a_cycle_served_as_adapter_says_what_is_in_it_and_answers_like_the_merged_model(warehouse, two):
    merged = merge_cycle(warehouse, two[1])
    assert merged.info["kind"] == "merged"
    assert merge_cycle(warehouse, two[1], AS_ADAPTER) == merged  # it lies there: only a new one takes the other form
    expected = served_model(warehouse, served_of(merged))(IDS).logits
    shutil.rmtree(warehouse.path(MERGED, two[1].key))
    header = merge_cycle(warehouse, two[1], AS_ADAPTER)
    assert header.info["kind"] == "adapter"
    assert (header.inputs, header.info["adapters"]) == (merged.inputs, merged.info["adapters"])
    folder = warehouse.folder(MERGED, two[1].key)
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "lineage.json",
    }
    base = load(warehouse)
    assert torch.allclose(served_model(warehouse, served_of(header))(IDS).logits, expected, atol=1e-5)
    with cycle_model(warehouse, two[1], base).at(("library", "")):
        assert torch.allclose(cycle_model(warehouse, two[1], base).model(IDS).logits, expected, atol=1e-5)
    assert torch.allclose(PeftModel.from_pretrained(tiny(), str(folder))(IDS).logits, expected, atol=1e-5)
    assert promote(warehouse, two[1], header, "passed").domains["library"].kind == "adapter"


def test_auto_takes_the_adapter_for_bases_over_one_gigabyte(tmp_path):
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(1_000_000_001)  # a hole: no disk is used
    assert kind_for(tmp_path, ModelsConfig()) == "adapter"
    assert kind_for(tmp_path, ModelsConfig(serve_as="merged")) == "merged"
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000_000)
    assert kind_for(tmp_path, ModelsConfig()) == "merged"


@pytest.mark.parametrize("config", [ModelsConfig(), AS_ADAPTER], ids=["merged", "adapter"])
def test_a_collected_model_is_refused_and_comes_back_the_same(config, warehouse, two):
    shutil.rmtree(warehouse.path(MERGED, two[1].key))
    header = merge_cycle(warehouse, two[1], config)
    folder = warehouse.folder(MERGED, two[1].key)
    before = files_hash(folder)
    for again in (lambda: restore(warehouse, header), lambda: merge_cycle(warehouse, two[1])):
        shutil.rmtree(folder)
        assert is_collected(warehouse, header)
        assert fresh_merged(warehouse, two[1], load(warehouse).hash) == header
        with pytest.raises(LineageError, match="collected by `synde gc`"):
            served_model(warehouse, served_of(header))
        again()
        assert files_hash(folder) == before
        assert warehouse.header(MERGED, two[1].key) == header
    shutil.rmtree(folder)
    shutil.rmtree(warehouse.path(ADAPTERS, two[0].key))
    with pytest.raises(LineageError, match=r"adapters\[library-0001\] is missing"):
        restore(warehouse, header)
    assert not folder.exists()


def test_a_base_that_changed_on_disk_is_not_merged_into(warehouse, two):
    shutil.rmtree(warehouse.path(MERGED, two[1].key))
    with (warehouse.folder(BASE, "") / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    with pytest.raises(BaseModelError, match="which this warehouse is pinned to"):
        merge_cycle(warehouse, two[1])
