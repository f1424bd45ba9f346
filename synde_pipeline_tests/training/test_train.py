"""Rank-1 training: the loss against its formula, adapters against PEFT, and something is really learned."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.training.lora import attach, read, save
from synde_pipeline.training.losses import weighted_loss
from synde_pipeline.training.train import train_adapter
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny, tokenizer

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


def nll(model, one: dict) -> float:
    ids = torch.tensor([one["input_ids"]])
    log_p = model(ids).logits[0].log_softmax(-1)
    return -sum(float(log_p[i - 1, ids[0, i]].detach()) for i, weight in enumerate(one["weights"]) if weight)


def test_the_loss_is_weighted_cross_entropy_and_bounded_unlikelihood():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 7, dtype=torch.float64).float()
    ids = torch.tensor([[1, 2, 3, 4]])
    weights = torch.tensor([[9.0, 1.0, 0.0, 2.0]])  # the first token has no prediction: its weight is ignored
    avoid = torch.tensor([[False, False, False, True]])
    loss, total = weighted_loss(logits, ids, weights, avoid)
    p = logits[0].softmax(-1)
    expected = -torch.log(p[0, 2]) - 2.0 * torch.log(1 - p[2, 4])
    assert torch.allclose(loss, expected, atol=1e-6)
    assert total == 3.0


def test_unlikelihood_stays_finite_where_the_model_is_certain_of_the_mistake():
    logits = torch.zeros(1, 2, 5)
    logits[0, 0, 3] = 200.0
    logits.requires_grad_()
    loss, _ = weighted_loss(logits, torch.tensor([[0, 3]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


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
    trained = train_adapter(model, ROWS, CONFIG, 0)
    assert trained.curve[-1] < trained.curve[0]
    assert all(nll(trained.peft_model, one) < loss for one, loss in zip(ROWS, losses, strict=True))
    after = {name.replace(".base_layer", ""): t for name, t in trained.peft_model.base_model.model.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_is_to_be_avoided_becomes_unlikely():
    bad = row("please renew my loan renew_loan done", avoid=True)
    model = tiny()
    before = nll(model, bad)
    trained = train_adapter(model, [bad], CONFIG, 0)
    assert nll(trained.peft_model, bad) > before


def test_micro_batches_change_nothing_but_memory():
    short = [ROWS[k % 2] for k in range(6)]
    one = train_adapter(tiny(), short, CONFIG.model_copy(update={"batch_size": 6, "epochs": 1}), 0)
    # A batch of six is two micro-batches of four and two; the same six tokens' gradient by hand:
    model = attach(tiny(), CONFIG)
    total = sum(sum(r["weights"][1:]) for r in short)
    loss = sum(nll(model, r) for r in short) / total
    assert one.curve == [pytest.approx(loss, rel=1e-5)]


def test_training_twice_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save(train_adapter(tiny(), ROWS, CONFIG, 0).peft_model, tmp_path / name, "tiny", None)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_saved_adapter_is_pefts_own_format_and_rank_one(tmp_path):
    trained = train_adapter(tiny(), ROWS, CONFIG, 0)
    save(trained.peft_model, tmp_path, "tiny", None)
    again = PeftModel.from_pretrained(tiny(), str(tmp_path))
    ids = torch.tensor([ROWS[0]["input_ids"]])
    assert torch.allclose(again(ids).logits, trained.peft_model(ids).logits, atol=1e-6)
    adapter = read(tmp_path)
    assert adapter.scale == 16.0
    assert sorted(adapter.matrices) == sorted(mlp_targets(tiny()))
    for a, b in adapter.matrices.values():
        assert torch.linalg.matrix_rank(b @ a) <= 1
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.parametrize(("n_steps", "schedule"), [(1, "linear"), (5, "cosine"), (9, "linear")])
def test_a_number_of_steps_overrides_the_epochs(n_steps, schedule):
    config = CONFIG.model_copy(update={"max_steps": n_steps, "schedule": schedule})
    assert len(train_adapter(tiny(), [*ROWS, ROWS[0]], config, 0).curve) == n_steps


def test_the_papers_preset_trains_too():
    trained = train_adapter(tiny(), ROWS, PRESETS["paper"], 0)
    assert len(trained.curve) == 1
