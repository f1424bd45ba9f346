"""The null space: what is protected does not move, sums are sums, and the soft form is what it says."""

import pytest
import torch

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.null_space import Moments, Projection, leak_penalty, load, merge, moments_of, publish
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny
from synde_pipeline_tests.training.test_regularize import matrices, random_bank
from synde_pipeline_tests.training.test_train import ROWS, row


def read_inputs(model, one) -> dict[str, torch.Tensor]:
    """Inputs of the adapted modules where one sequence's targets are predicted, by hooks of the test's own."""
    modules, seen = dict(model.named_modules()), {}

    def hook(name):
        def keep(_, args):
            seen[name] = args[0].detach().reshape(-1, args[0].shape[-1])

        return keep

    handles = [modules[name].register_forward_pre_hook(hook(name)) for name in mlp_targets(model)]
    model(torch.tensor([one["input_ids"]]))
    for handle in handles:
        handle.remove()
    where = [i - 1 for i, weight in enumerate(one["weights"]) if weight and i]
    return {name: x[where] for name, x in seen.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_moments_are_those_of_the_agents_positions(family):
    model = tiny(family)
    found = moments_of(model, ROWS, pad_id=0)
    each = [read_inputs(model, one) for one in ROWS]
    assert found.n_tokens == sum(len(next(iter(one.values()))) for one in each)
    for name, total in found.sums.items():
        x = torch.cat([one[name] for one in each])
        assert torch.allclose(total, x.T @ x, rtol=1e-4, atol=1e-5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_projected_adapter_changes_nothing_for_protected_inputs(family):
    model = tiny(family)
    moments = moments_of(model, ROWS, pad_id=0)
    protection = Projection.of(moments, energy=1 - 1e-12)  # all directions of so few inputs
    bank = random_bank(model)
    protection.after_step(bank)
    for one in ROWS:
        for name, x in read_inputs(model, one).items():
            a, b = matrices(bank)[name]
            free = x.double() @ torch.randn(x.shape[1], x.shape[1], dtype=torch.float64)
            moved = bank.scale * x.double() @ a.transpose(1, 2) @ b.transpose(1, 2)
            unprotected = bank.scale * free @ a.transpose(1, 2) @ b.transpose(1, 2)
            assert moved.abs().max() < 1e-4 * unprotected.abs().max()


def test_the_model_says_the_same_on_a_protected_sequence_after_training_on_another():
    """Whole model, trained: logits at protected positions stay, those of the new sequence move."""
    model = tiny()
    model.requires_grad_(False)
    old, new = row("please renew my loan renew_loan done"), row("card not found find_member done thank you")
    whole = {**old, "weights": [1.0] * len(old["input_ids"])}  # every position: later ones read earlier ones
    protection = Projection.of(moments_of(model, [whole], pad_id=0), energy=1 - 1e-12)
    bank = AdapterBank.fresh(model, 1, TrainingConfig(rank=2))
    protection.after_step(bank)
    optimizer = torch.optim.Adam([bank.table], lr=1e-2)
    ids = {"old": torch.tensor([old["input_ids"]]), "new": torch.tensor([new["input_ids"]])}
    before = {name: model(tokens).logits[0, :-1] for name, tokens in ids.items()}
    for _ in range(20):
        with bank.routed([0]):
            logits = model(ids["new"]).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, ids["new"][0, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
        protection.after_step(bank)
    with bank.routed([0]):
        after = {name: model(tokens).logits[0, :-1] for name, tokens in ids.items()}
    moved = {name: float((after[name] - before[name]).abs().max()) for name in ids}
    assert moved["old"] < 1e-3 * moved["new"]


def test_energy_decides_how_many_directions_are_protected():
    basis, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    values = torch.tensor([8.0, 1.0, 0.9, 0.1, 0.0, 0.0], dtype=torch.float64)
    moments = Moments({"m": (basis * values) @ basis.T}, 10)
    for energy, left in ((0.5, 5), (0.85, 4), (0.95, 3), (0.995, 2)):
        protection = Projection.of(moments, energy)
        assert protection.room == {"m": (left, 6)}
        u = protection.directions["m"].double()
        assert torch.allclose(u @ u.T, basis[:, : 6 - left] @ basis[:, : 6 - left].T, atol=1e-5)
    assert Projection.of(Moments({"m": torch.zeros(6, 6)}, 0)).room == {"m": (6, 6)}


def test_projecting_twice_is_projecting_once():
    model = tiny()
    protection = Projection.of(moments_of(model, ROWS, pad_id=0), energy=0.9)
    bank = random_bank(model)
    protection.after_step(bank)
    once = bank.table.detach().clone()
    protection.after_step(bank)
    assert torch.allclose(bank.table.detach(), once, atol=1e-6)
    left, width = next(iter(protection.room.values()))
    assert 0 < left < width


def test_moments_of_two_cycles_are_those_of_all_their_sequences_on_disk_too(tmp_path):
    model = tiny("gpt2")
    joint = moments_of(model, ROWS, pad_id=0)
    warehouse = Warehouse(tmp_path)
    for k, one in enumerate(ROWS):
        header = publish(warehouse, f"web-000{k}", moments_of(model, [one], pad_id=0), {"shard": str(k)})
        assert header.inputs == {"shard": str(k)}
    found = load(warehouse, ["web-0000", "web-0001"])
    assert found.n_tokens == joint.n_tokens
    for name, total in joint.sums.items():
        assert torch.allclose(found.sums[name], total, rtol=1e-4, atol=1e-5)
    again = publish(warehouse, "web-0000", load(warehouse, ["web-0000"]), {"shard": "0"})
    assert again.content_hash == warehouse.header("input_moments", "web-0000").content_hash
    with pytest.raises(LineageError):
        load(warehouse, ["web-0009"])


def test_moments_of_different_modules_do_not_mix():
    with pytest.raises(LineageError, match="modules"):
        merge([Moments({"a": torch.eye(2)}, 1), Moments({"b": torch.eye(2)}, 1)])
    with pytest.raises(ValueError, match="no sequence"):
        moments_of(tiny(), [], pad_id=0)


def test_the_leak_is_the_mean_square_of_what_an_adapter_adds_to_protected_inputs():
    model = tiny()
    bank = random_bank(model)
    found = leak_penalty(moments_of(model, ROWS, pad_id=0), strength=0.4)(bank)
    each = [read_inputs(model, one) for one in ROWS]
    for k in range(bank.n_adapters):
        expected = 0.0
        for name, (a, b) in matrices(bank).items():
            x = torch.cat([one[name] for one in each]).double()
            expected += float((bank.scale * x @ a[k].T @ b[k].T).square().sum(-1).mean().detach())
        assert float(found[k].detach()) == pytest.approx(0.2 * expected, rel=1e-4)
