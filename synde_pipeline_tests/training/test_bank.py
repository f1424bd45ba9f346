"""A bank of adapters: each row through its own, exactly; trained together as alone; on disk in PEFT's own format."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights, attach, read, write
from synde_pipeline.training.train import train_adapter
from synde_pipeline.training.train_bank import fit, train_bank
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny
from synde_pipeline_tests.training.test_train import ROWS, nll, row

CONFIG = TrainingConfig(max_steps=6, batch_size=2, learning_rate=1e-2)
GROUPS = [
    ROWS,
    [row("error card not found"), row("thank you reply done done done done", avoid=True), row("get_loan done")],
    [row("library: get_loan card")],
]


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


# -- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("config", [CONFIG, CONFIG.model_copy(update={"max_steps": None, "epochs": 3})])
def test_adapters_trained_together_equal_each_trained_alone(family, config):
    together = train_bank(tiny(family), GROUPS, config, 0)
    for g, rows in enumerate(GROUPS):
        alone = train_bank(tiny(family), [rows], config, 0)
        assert together.curves[g] == pytest.approx(alone.curves[0], rel=1e-5)
        assert together.n_target_tokens[g] == alone.n_target_tokens[0]
        assert torch.allclose(together.bank.table[g], alone.bank.table[0], atol=1e-5)


@given(st.permutations(range(3)))
@settings(max_examples=6)
def test_the_order_of_groups_changes_no_adapter(order):
    config = CONFIG.model_copy(update={"max_steps": 3, "schedule": "cosine"})
    straight = train_bank(tiny(), GROUPS, config, 0).bank.table
    turned = train_bank(tiny(), [GROUPS[g] for g in order], config, 0).bank.table
    assert torch.allclose(turned, straight[list(order)], atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "neox"])  # GPT-2's own dropout is on under PEFT, off in a bank
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_bank_of_one_learns_what_pefts_adapter_learns(family, schedule):
    config = TrainingConfig(epochs=4, batch_size=2, learning_rate=1e-2, schedule=schedule)
    rows = [*ROWS, *GROUPS[1][:2]]  # whole batches, so that both walk through the same ones
    initial = attach(tiny(family), config)  # draws the A that `train_adapter` will start from
    start = {
        name.removeprefix("base_model.model."): module.lora_A["default"].weight.detach()
        for name, module in initial.named_modules()
        if hasattr(module, "lora_A")
    }
    model = tiny(family)
    bank = AdapterBank.fresh(model, 1, config)
    zero_b = {name: (start[name], b) for name, (_, b) in bank.weights(0).matrices.items()}
    bank.load(0, AdapterWeights(config.alpha, zero_b))
    curves = fit(bank, model, [rows], config, 0)
    theirs = train_adapter(tiny(family), rows, config, 0)
    assert curves[0] == pytest.approx(theirs.curve, rel=1e-4)
    with torch.inference_mode(), bank.routed([0]):
        assert torch.allclose(model(ids(2)).logits, theirs.peft_model(ids(2)).logits, atol=1e-4)


def test_training_lowers_the_loss_of_each_groups_own_rows_and_leaves_the_base_untouched():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bank = train_bank(
        model, [[ROWS[0]], [ROWS[1]]], CONFIG.model_copy(update={"max_steps": 30, "learning_rate": 2e-2}), 0
    ).bank
    for g in range(2):
        base = nll(model, ROWS[g])
        with bank.routed([g]):
            assert nll(model, ROWS[g]) < base - 1
    bank.remove()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_family_with_a_soft_cap_behind_its_head_trains_too():
    trained = train_bank(tiny("gemma2"), [ROWS], CONFIG, 0)
    by_hand = sum(nll(tiny("gemma2"), one) for one in ROWS) / sum(sum(one["weights"][1:]) for one in ROWS)
    assert trained.curves[0][0] == pytest.approx(by_hand, rel=1e-5)
    assert trained.curves[0][-1] < trained.curves[0][0]


def test_dropout_and_empty_groups_are_refused():
    with pytest.raises(InputError, match=r"dropout 0\.1"):
        train_bank(tiny(), [ROWS], PRESETS["paper"], 0)
    with pytest.raises(ValueError, match="no sequence"):
        train_bank(tiny(), [ROWS, []], CONFIG, 0)


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_adapter_is_pefts_own_format(family, tmp_path):
    model = tiny(family)
    bank = train_bank(model, GROUPS, CONFIG, 0).bank
    for name in "ab":
        write(bank.weights(1), tmp_path / name, ("tiny", None), transposed=bank.transposed)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    theirs = PeftModel.from_pretrained(tiny(family), str(tmp_path / "a"))
    with torch.inference_mode(), bank.routed([1]):
        assert torch.allclose(model(ids(2)).logits, theirs(ids(2)).logits, atol=1e-6)


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


def test_training_a_bank_twice_gives_the_same_floats():
    one, two = (train_bank(tiny(), GROUPS, CONFIG, 0).bank.table for _ in range(2))
    assert torch.equal(one, two)
