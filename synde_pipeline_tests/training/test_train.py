"""Training: gradients against PEFT's, together as alone, in any micro-batches; something is really learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import InputError
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.engine import WAYS, Engine
from synde_pipeline.training.lora import read, write
from synde_pipeline.training.optimise import Optimisation
from synde_pipeline.training.packing import TrainingSequence
from synde_pipeline.training.train import train
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny, tokenizer
from synde_pipeline_tests.training.peft_reference import gradients, loss_by_hand, with_peft

CONFIG = TrainingConfig(epochs=8, batch_size=2, learning_rate=2e-2)


def row(text: str, avoid: bool = False) -> dict:
    ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
    half = len(ids) // 2
    return {
        "input_ids": ids,
        "weights": [0.0] * half + [1.0] * (len(ids) - half),
        "avoid": [False] * half + [avoid] * (len(ids) - half),
    }


ROWS = [row("please renew my loan renew_loan done"), row("card not found find_member done thank you")]
GROUPS = [
    ROWS,
    [row("error card not found"), row("thank you reply done done done done", avoid=True), row("get_loan done")],
    [row("library: get_loan card")],
]


def nll(model, one: dict) -> float:
    ids = torch.tensor([one["input_ids"]])
    log_p = model(ids).logits[0].log_softmax(-1)
    return -sum(float(log_p[i - 1, ids[0, i]].detach()) for i, weight in enumerate(one["weights"]) if weight)


def random_bank(model, n: int, config: TrainingConfig) -> AdapterBank:
    """Adapters whose B is not zero, as after some steps."""
    bank = AdapterBank.fresh(model, n, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        bank.table.add_(torch.randn(bank.table.shape, generator=generator) / 30)
    return bank


def our_gradients(model, bank, groups, config, machine=None, way=None):
    """Each adapter's gradient row on one batch of all its rows, and its loss."""
    model.eval().requires_grad_(False)
    engine = Engine(model, bank, config, machine or MachineConfig())
    sequences = [[TrainingSequence.of(one, config) for one in rows] for rows in groups]
    with engine.running([one for rows in sequences for one in rows]):
        if way is not None:
            engine.way = way
            with engine.paused():
                pass
        optimisation = Optimisation(engine, sequences, config)
        losses = optimisation.gradients(optimisation.next_batch())
    return bank.table.grad.clone(), losses, engine.way


def relative(found, expected) -> float:
    return float((found - expected).norm() / expected.norm())


# -- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"rank": 3, "o_proj": True}])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_equal_pefts(family, options, way):
    config = CONFIG.model_copy(update={"batch_size": 6, **options})  # both rows, or all three, or one six times
    model = tiny(family)
    bank = random_bank(model, len(GROUPS), config)
    found, losses, _ = our_gradients(model, bank, GROUPS, config, way=way)
    for g, rows in enumerate(GROUPS):
        peft_model = with_peft(tiny(family), config, bank.weights(g))
        expected = gradients(peft_model, rows)
        assert losses[g] == pytest.approx(float(loss_by_hand(peft_model, rows).detach()), rel=1e-5)
        assert set(expected) == set(bank.names)
        for name, (a, b) in expected.items():
            mine_a, mine_b = bank.matrices(found[g], name)
            assert relative(mine_a, a) < 1e-5
            assert relative(mine_b, b) < 1e-5


@given(tokens=st.integers(64, 400), packed=st.booleans())
@settings(max_examples=8)
def test_micro_batches_change_nothing_but_memory(tokens, packed):
    config = CONFIG.model_copy(update={"batch_size": 8})
    groups = [[*rows, *GROUPS[0]] for rows in GROUPS]
    banks = [random_bank(tiny(), len(groups), config) for _ in range(2)]
    way = WAYS[0] if packed else WAYS[-1]
    whole, losses, _ = our_gradients(tiny(), banks[0], groups, config, MachineConfig(tokens_at_once=10**6))
    parts, others, _ = our_gradients(tiny(), banks[1], groups, config, MachineConfig(tokens_at_once=tokens), way)
    assert others == pytest.approx(losses, rel=1e-5)
    assert relative(parts, whole) < 1e-5


# -- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_mlp_targets_come_from_the_models_own_graph(family):
    model = tiny(family)
    leaves = {name.rsplit(".", 1)[-1] for name in mlp_targets(model)}
    assert (
        leaves
        == {
            "llama": {"gate_proj", "up_proj", "down_proj"},
            "gpt2": {"c_fc", "c_proj"},
            "neox": {"dense_h_to_4h", "dense_4h_to_h"},
        }[family]
    )
    assert not any("attn" in name for name in mlp_targets(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss_and_leaves_the_base_untouched(family):
    model = tiny(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = [nll(model, one) for one in ROWS]
    trained = train(model, [ROWS], CONFIG)
    assert trained.curves[0][-1] < trained.curves[0][0]
    with trained.bank.routed([0]):
        assert all(nll(model, one) < loss for one, loss in zip(ROWS, losses, strict=True))
    assert [nll(model, one) for one in ROWS] == losses
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_what_is_to_be_avoided_becomes_unlikely():
    bad = row("please renew my loan renew_loan done", avoid=True)
    model = tiny()
    before = nll(model, bad)
    trained = train(model, [[bad]], CONFIG)
    with trained.bank.routed([0]):
        assert nll(model, bad) > before


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("values", [{"max_steps": 6}, {"epochs": 3}, {"max_steps": 5, "dropout": 0.3}])
def test_adapters_trained_together_equal_each_trained_alone(family, values):
    config = TrainingConfig(batch_size=2, learning_rate=1e-2, **values)
    together = train(tiny(family), GROUPS, config)
    for g, rows in enumerate(GROUPS):
        alone = train(tiny(family), [rows], config)
        assert together.curves[g] == pytest.approx(alone.curves[0], rel=1e-5)
        assert together.n_target_tokens[g] == alone.n_target_tokens[0]
        assert torch.allclose(together.bank.table[g], alone.bank.table[0], atol=1e-5)


@given(st.permutations(range(3)))
@settings(max_examples=6)
def test_the_order_of_groups_changes_no_adapter(order):
    config = CONFIG.model_copy(update={"max_steps": 3, "schedule": "cosine"})
    straight = train(tiny(), GROUPS, config).bank.table
    turned = train(tiny(), [GROUPS[g] for g in order], config).bank.table
    assert torch.allclose(turned, straight[list(order)], atol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_an_adapter_learns_what_pefts_learns_in_a_plain_loop(schedule):
    config = TrainingConfig(epochs=6, batch_size=2, learning_rate=1e-2, schedule=schedule)
    model = tiny()
    start = AdapterBank.fresh(tiny(), 1, config).weights(0)
    trained = train(model, [ROWS], config)
    theirs = with_peft(tiny(), config, start)
    parameters = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    decay = (
        torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=6)
        if schedule == "linear"
        else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    )
    curve = []
    for _ in range(6):  # two rows in batches of two: every step sees both
        loss = loss_by_hand(theirs, ROWS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay.step()
        curve.append(float(loss.detach()))
    assert trained.curves[0] == pytest.approx(curve, rel=1e-4)
    ids = torch.tensor([ROWS[0]["input_ids"]])
    with torch.inference_mode(), trained.bank.routed([0]):
        assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-4)


@pytest.mark.parametrize(("n_steps", "schedule"), [(1, "linear"), (5, "cosine"), (9, "linear")])
def test_a_number_of_steps_overrides_the_epochs(n_steps, schedule):
    config = CONFIG.model_copy(update={"max_steps": n_steps, "schedule": schedule})
    assert len(train(tiny(), [[*ROWS, ROWS[0]]], config).curves[0]) == n_steps


def test_training_twice_gives_the_same_floats():
    one, two = (train(tiny(), GROUPS, CONFIG.model_copy(update={"dropout": 0.1})).bank.table for _ in range(2))
    assert torch.equal(one, two)


def test_the_papers_preset_trains_several_adapters():
    trained = train(tiny(), GROUPS, PRESETS["paper"])
    assert [len(curve) for curve in trained.curves] == [1, 1, 1]


def test_a_family_with_a_soft_cap_behind_its_head_trains_too():
    trained = train(tiny("gemma2"), [ROWS], CONFIG)
    by_hand = sum(nll(tiny("gemma2"), one) for one in ROWS) / sum(sum(one["weights"][1:]) for one in ROWS)
    assert trained.curves[0][0] == pytest.approx(by_hand, rel=1e-5)
    assert trained.curves[0][-1] < trained.curves[0][0]


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(InputError, match="no sequence"):
        train(tiny(), [ROWS, []], CONFIG)
    with pytest.raises(InputError, match="SYNDE_WINDOW=512"):
        train(tiny("gpt2"), [[row("please renew my loan " * 200)]], CONFIG)
    with pytest.raises(InputError, match="negated"):
        train(tiny(), [ROWS], CONFIG.model_copy(update={"failures": "negated"}))


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("o_proj", [False, True])
def test_a_written_adapter_is_pefts_own_format(family, o_proj, tmp_path):
    model = tiny(family)
    bank = train(model, GROUPS, CONFIG.model_copy(update={"o_proj": o_proj, "epochs": 2})).bank
    for name in "ab":
        write(bank.weights(1), tmp_path / name, ("tiny", None), transposed=bank.transposed)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    ids = torch.tensor([ROWS[0]["input_ids"]])
    theirs = PeftModel.from_pretrained(tiny(family), str(tmp_path / "a"))
    with torch.inference_mode(), bank.routed([1]):
        assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-6)
    again = read(tmp_path / "a")
    assert sorted(again.matrices) == sorted(bank.names)
    assert all(torch.linalg.matrix_rank(b @ a) <= 1 for a, b in again.matrices.values())
