"""A bank of adapters: each row through its own, exactly; written and read without a change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights, read, write
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny


def random_adapter(model, seed: int, rank: int = 1, scale: float = 16.0) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    sizes = AdapterBank(model, 0, rank=rank, scale=1.0)
    shapes = {name: (slot.n_in, slot.n_out) for name, slot in sizes._slots.items()}
    sizes.remove()
    return AdapterWeights(
        scale,
        {
            name: (
                torch.randn(rank, n_in, generator=generator) / 8,
                torch.randn(n_out, rank, generator=generator) / 64,
            )
            for name, (n_in, n_out) in shapes.items()
        },
    )


def ids(n: int, seed: int = 0, width: int = 7) -> torch.Tensor:
    return torch.randint(8, 300, (n, width), generator=torch.Generator().manual_seed(seed))


def merged(family: str, adapter: AdapterWeights | None):
    """The reference: the adapter added to the weights of a model of its own."""
    return add_adapters(tiny(family), [] if adapter is None else [(adapter, 1.0)])


@pytest.mark.parametrize("family", FAMILIES)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=5))
@settings(max_examples=10)
def test_every_row_goes_through_its_own_adapter_and_no_other(family, indices):
    model = tiny(family)
    adapters = [random_adapter(model, seed) for seed in range(3)]
    bank = AdapterBank.of(model, adapters)
    batch = ids(len(indices))
    with torch.inference_mode(), bank.routed(torch.tensor(indices)):
        found = model(batch).logits
        for k, index in enumerate(indices):
            expected = merged(family, adapters[index] if index >= 0 else None)(batch[k : k + 1]).logits[0]
            assert torch.allclose(found[k], expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_without_an_adapter_give_the_bases_own_logits_to_the_bit(family):
    model, batch = tiny(family), ids(3)
    bank = AdapterBank.of(model, [random_adapter(model, 0)])
    expected = tiny(family)(batch).logits
    with bank.routed([-1, 0, -1]):
        mixed = model(batch).logits
    assert torch.equal(mixed[[0, 2]], expected[[0, 2]])
    assert not torch.allclose(mixed[1], expected[1], atol=1e-3)
    with bank.routed([-1, -1, -1]):
        assert torch.equal(model(batch).logits, expected)
    assert torch.equal(model(batch).logits, expected)
    bank.remove()
    with bank.routed([0, 0, 0]):
        assert torch.equal(model(batch).logits, expected)


def test_a_rollout_with_cached_keys_may_drop_rows_on_the_way():
    model, batch = tiny(), ids(3, width=9)
    bank = AdapterBank.of(model, [random_adapter(model, seed) for seed in range(2)])
    route = torch.tensor([1, -1, 0])
    with torch.inference_mode(), bank.routed(route):
        whole = model(batch).logits
    with torch.inference_mode():
        with bank.routed(route):
            cache = model(batch[:, :5], use_cache=True).past_key_values
        kept = torch.tensor([0, 2])
        cache.batch_select_indices(kept)
        with bank.routed(route[kept]):
            rest = model(batch[kept, 5:], past_key_values=cache, use_cache=True).logits
    assert torch.allclose(rest, whole[kept, 5:], atol=1e-5)


def test_one_index_stands_for_every_row_and_a_wrong_number_of_them_is_refused():
    model, batch = tiny(), ids(3)
    bank = AdapterBank.of(model, [random_adapter(model, 0)])
    with bank.routed([0]):
        one = model(batch).logits
    with bank.routed([0, 0, 0]):
        assert torch.allclose(one, model(batch).logits, atol=1e-6)
    with bank.routed([0, 0]), pytest.raises(ValueError, match="3 rows met adapters for 2"):
        model(batch)
    with pytest.raises(IndexError), bank.routed([1]):
        pass


@pytest.mark.parametrize("rank", [1, 2])
def test_adapters_of_other_rank_and_scale_fit_beside_each_other(rank):
    model, batch = tiny(), ids(2)
    adapters = [random_adapter(model, 0, rank=rank, scale=3.0), random_adapter(model, 1, rank=3, scale=16.0)]
    bank = AdapterBank.of(model, adapters)
    with torch.inference_mode(), bank.routed([0, 1]):
        found = model(batch).logits
    for k, adapter in enumerate(adapters):
        assert torch.allclose(found[k], merged("llama", adapter)(batch[k : k + 1]).logits[0], atol=1e-5)


def test_an_adapter_of_another_model_is_refused_and_leaves_no_hook():
    model = tiny("gpt2")
    with pytest.raises(LineageError, match="use the adapter's own base"):
        AdapterBank.of(model, [random_adapter(tiny(), 0)])
    assert not any(module._forward_hooks for module in model.modules())
    odd = random_adapter(tiny(), 0)
    name = mlp_targets(tiny())[0]
    shapes = AdapterWeights(1.0, {**odd.matrices, name: (torch.ones(1, 3), torch.ones(5, 1))})
    with pytest.raises(LineageError, match=r"expected \(1, 32\) and \(48, 1\)"):
        AdapterBank.of(tiny(), [shapes])


# -- files ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 99), st.integers(1, 3))
@settings(max_examples=10)
def test_writing_and_reading_an_adapter_changes_nothing(tmp_path, seed, rank):
    adapter = random_adapter(tiny(), seed, rank=rank)
    write(adapter, tmp_path, ("tiny", "main"))
    again = read(tmp_path)
    assert again.scale == adapter.scale
    assert again.matrices.keys() == adapter.matrices.keys()
    for name, (a, b) in adapter.matrices.items():
        assert torch.equal(again.matrices[name][0], a)
        assert torch.equal(again.matrices[name][1], b)
