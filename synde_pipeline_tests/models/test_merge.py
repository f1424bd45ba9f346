"""Composition is exact (law 7), order-free, refuses strangers, and equals PEFT's own merge."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from synde_pipeline.errors import LineageError
from synde_pipeline.models.compose import add_adapters, ledger_hash
from synde_pipeline.training.lora import AdapterWeights, read, write
from synde_pipeline.training.train import train
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny
from synde_pipeline_tests.training.test_train import CONFIG, ROWS

IDS = torch.tensor([ROWS[0]["input_ids"]])


def random_adapter(seed: int) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    model = tiny()
    name = "model.layers.0.mlp.gate_proj"
    out, into = model.get_submodule(name).weight.shape
    return AdapterWeights(
        16.0, {name: (torch.randn(1, into, generator=generator), torch.randn(out, 1, generator=generator) * 0.01)}
    )


def save(bank, folder):
    write(bank.weights(0), folder, ("tiny", None), transposed=bank.transposed)


@pytest.mark.parametrize("family", FAMILIES)
def test_adding_an_adapter_equals_pefts_merge(family, tmp_path):
    save(train(tiny(family), [ROWS], CONFIG).bank, tmp_path)
    theirs = PeftModel.from_pretrained(tiny(family), str(tmp_path)).merge_and_unload()
    ours = add_adapters(tiny(family), [(read(tmp_path), 1.0)])
    for name, tensor in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], tensor, atol=1e-6), name
    assert torch.allclose(ours(IDS).logits, theirs(IDS).logits, atol=1e-5)
    assert not torch.allclose(ours(IDS).logits, tiny(family)(IDS).logits, atol=1e-3)


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(-2, 2)), min_size=1, max_size=5), st.randoms())
@settings(max_examples=20)
def test_the_sum_does_not_depend_on_order_and_equals_base_plus_deltas(ledger, random):
    adapters = [(random_adapter(seed), alpha) for seed, alpha in ledger]
    shuffled = adapters[:]
    random.shuffle(shuffled)
    name = "model.layers.0.mlp.gate_proj"
    one, two = (add_adapters(tiny(), some).get_submodule(name).weight for some in (adapters, shuffled))
    expected = tiny().get_submodule(name).weight.double() + sum(
        alpha * 16.0 * (a.matrices[name][1].double() @ a.matrices[name][0].double()) for a, alpha in adapters
    )
    assert torch.allclose(one, two, atol=1e-5)
    assert torch.allclose(one.double(), expected, atol=1e-5)


def test_adding_and_subtracting_an_adapter_restores_the_base():
    adapter = random_adapter(1)
    model = add_adapters(tiny(), [(adapter, 1.0), (adapter, -1.0)])
    for name, tensor in tiny().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_an_adapter_of_another_model_is_refused():
    with pytest.raises(LineageError, match="is not in the model"):
        add_adapters(tiny("gpt2"), [(random_adapter(1), 1.0)])
    name = "model.layers.0.mlp.gate_proj"
    wrong = AdapterWeights(1.0, {name: (torch.ones(1, 3), torch.ones(5, 1))})
    with pytest.raises(LineageError, match=r"expected \(48, 32\)"):
        add_adapters(tiny(), [(wrong, 1.0)])


@pytest.mark.parametrize(
    ("knob", "says"),
    [
        ({"use_dora": True}, "no plain LoRA"),
        ({"rank_pattern": {"gate_proj": 2}}, "one r and one lora_alpha"),
        ({"alpha_pattern": {"gate_proj": 8}}, "one r and one lora_alpha"),
    ],
)
def test_an_adapter_that_would_be_read_wrongly_is_refused(tmp_path, knob, says):
    save(train(tiny(), [ROWS], CONFIG).bank, tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **knob}))
    with pytest.raises(LineageError, match=says):
        read(tmp_path)


def test_a_ledger_names_its_adapters_in_order():
    assert ledger_hash([]) == "base"
