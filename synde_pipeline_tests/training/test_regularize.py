"""EWC: the forms without delta W against delta W itself, and the Fisher against its definition."""

import itertools

import pytest
import torch

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.regularize import (
    Fisher,
    accumulated,
    curvature,
    ewc,
    fisher_of,
    l2_penalty,
    load,
    publish,
)
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny
from synde_pipeline_tests.training.test_train import ROWS, row


def random_bank(model, n_adapters: int = 3, rank: int = 2) -> AdapterBank:
    """A bank of random matrices in float64."""
    bank = AdapterBank(model, n_adapters, rank=rank, scale=8.0)
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(bank.table.shape, generator=generator, dtype=torch.float64)
    bank.table = torch.nn.Parameter(values)
    return bank


def matrices(bank: AdapterBank) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module -> (A of shape (adapters, rank, in), B of shape (adapters, out, rank))."""
    return {name: bank.matrices(bank.table, name) for name in bank.names}


def random_factors(bank: AdapterBank, kind: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(6)

    def draw(n: int) -> torch.Tensor:
        x = torch.randn(2 * n, n, generator=generator, dtype=torch.float64)
        return x.T @ x if kind == "kfac" else x.square().sum(0)

    return {name: (draw(b.shape[-2]), draw(a.shape[-1])) for name, (a, b) in matrices(bank).items()}


def materialised(bank: AdapterBank, factors, k: int) -> torch.Tensor:
    """vec(dW)^T F vec(dW) of one adapter, with the Fisher applied to delta W as a matrix."""
    total = torch.zeros((), dtype=torch.float64)
    for name, (a, b) in matrices(bank).items():
        delta = bank.scale * b[k] @ a[k]
        out, into = factors[name]
        if out.dim() == 1:
            total = total + (delta.square() * out[:, None] * into[None, :]).sum()
        else:
            total = total + (delta * (out @ delta @ into)).sum()
    return total


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["kfac", "diagonal"])
def test_the_penalty_is_the_quadratic_form_in_the_delta_of_each_adapter(family, kind):
    bank = random_bank(tiny(family))
    factors = random_factors(bank, kind)
    found = Fisher(kind, (factors,)).penalty(bank)
    expected = torch.stack([materialised(bank, factors, k) for k in range(bank.n_adapters)])
    assert torch.allclose(found, expected, rtol=1e-10)


def test_one_kronecker_term_is_the_quadratic_form_of_the_kronecker_product():
    bank = random_bank(tiny(), n_adapters=1, rank=1)
    name, (a, b) = next(iter(matrices(bank).items()))
    factors = random_factors(bank, "kfac")
    only = {key: (out, into) if key == name else (out * 0, into) for key, (out, into) in factors.items()}
    delta = (bank.scale * b[0] @ a[0]).flatten()  # row by row: S (x) R
    expected = delta @ torch.kron(*factors[name]) @ delta
    assert torch.allclose(curvature(bank, only)[0], expected, rtol=1e-10)


def test_identities_give_the_squared_norm_of_delta():
    bank = random_bank(tiny("gpt2"))
    norms = [sum((bank.scale * b[k] @ a[k]).square().sum() for a, b in matrices(bank).values()) for k in range(3)]
    assert torch.allclose(l2_penalty(bank.names, 3.0)(bank), 1.5 * torch.stack(norms), rtol=1e-10)


@pytest.mark.parametrize("kind", ["kfac", "diagonal"])
def test_gradients_of_the_penalty_are_those_of_the_materialised_form(kind):
    bank = random_bank(tiny())
    factors = random_factors(bank, kind)
    (found,) = torch.autograd.grad(ewc(Fisher(kind, (factors,)), 0.5)(bank).sum(), bank.table)
    (expected,) = torch.autograd.grad(sum(0.25 * materialised(bank, factors, k) for k in range(3)), bank.table)
    assert torch.allclose(found, expected, rtol=1e-9)
    # An adapter's penalty moves that adapter alone.
    (second,) = torch.autograd.grad(Fisher(kind, (factors,)).penalty(bank)[1], bank.table)
    assert (second[1] != 0).any()
    assert (second[[0, 2]] == 0).all()


def normalised(out: dict, into: dict) -> dict:
    """The reference: mean of the diagonal of all Kronecker products is 1."""
    total = sum(float(out[k].trace() * into[k].trace()) for k in out)
    n = sum(len(out[k]) * len(into[k]) for k in out)
    return {k: (out[k] * n / total, into[k]) for k in out}


def enumerated(model, ids: list[int], targets: list[int]) -> dict:
    """S and R of the true Fisher: every label of every target in its own backward pass, weighted by its probability."""
    names, modules, seen = mlp_targets(model), dict(model.named_modules()), {}

    def keep(name):
        def hook(_, args, output):
            seen[name] = (args[0].detach()[0], output)

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for handle in handles:
        handle.remove()
    n = max(targets)  # positions that the last target depends on
    into = {name: x[:n].T @ x[:n] / n for name, (x, _) in seen.items()}
    out = dict.fromkeys(names, 0.0)
    outputs = [seen[name][1] for name in names]
    for label, i in itertools.product(range(log_p.shape[1]), targets):
        gradients = torch.autograd.grad(log_p[i - 1, label], outputs, retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            g = gradient[0, :n]
            out[name] = out[name] + float(log_p[i - 1, label].detach().exp()) / n * g.T @ g
    return normalised(out, into)


def test_the_fisher_is_that_of_labels_drawn_from_the_model():
    model = tiny()
    one = {"input_ids": [5, 90, 17, 200], "weights": [0.0, 0.0, 1.0, 1.0]}
    # Each copy draws its own labels: together they come close to the expectation.
    n_copies = 4000
    (found,) = fisher_of(model, [one] * n_copies, "kfac", pad_id=0).terms
    for name, (out, into) in enumerated(model, one["input_ids"], targets=[2, 3]).items():
        assert torch.allclose(found[name][1], into, rtol=1e-4, atol=1e-6)
        assert (found[name][0] - out).norm() < 0.1 * out.norm()
        assert torch.allclose(found[name][0].diagonal(), out.diagonal(), rtol=0.2)


def test_the_diagonal_form_is_the_diagonal_of_the_full_one():
    model = tiny("neox")
    (full,) = fisher_of(model, ROWS, "kfac", pad_id=0).terms
    (diagonal,) = fisher_of(model, ROWS, "diagonal", pad_id=0).terms
    for name in full:
        for whole, part in zip(full[name], diagonal[name], strict=True):
            assert torch.allclose(whole.diagonal(), part, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_sequences_without_targets_change_nothing_and_weights_stay(family):
    model = tiny(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    junk = {"input_ids": list(range(60)), "weights": [0.0] * 60, "avoid": [False] * 60}
    (alone,) = fisher_of(model, ROWS, "kfac", pad_id=0, seed=3).terms
    (padded,) = fisher_of(model, [*ROWS, junk], "kfac", pad_id=7, seed=3).terms
    for name in alone:
        for found, expected in zip(padded[name], alone[name], strict=True):
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["kfac", "diagonal"])
def test_the_mean_of_the_fisher_is_one_whatever_the_scale_of_the_model(kind):
    model = tiny()
    fisher = fisher_of(model, ROWS, kind, pad_id=0)
    (term,) = fisher.terms
    diagonals = [(out, into) if out.dim() == 1 else (out.diagonal(), into.diagonal()) for out, into in term.values()]
    entries = torch.cat([torch.outer(out, into).flatten() for out, into in diagonals])
    assert abs(float(entries.double().mean()) - 1) < 1e-5
    again = fisher.times(1e-6).normalised().terms[0]
    assert all(torch.allclose(again[k][0], term[k][0], rtol=1e-5) for k in term)


def test_sums_over_cycles_are_exact_and_survive_the_disk(tmp_path):
    model = tiny()
    old, new = (fisher_of(model, [one], "kfac", pad_id=0) for one in ROWS)
    bank = random_bank(model)
    both = accumulated(old, new, gamma=0.5)
    assert torch.allclose(both.penalty(bank), 0.5 * old.penalty(bank) + new.penalty(bank), rtol=1e-6)
    warehouse = Warehouse(tmp_path)
    header = publish(warehouse, "web-0001", both, {"shard": "a"})
    read = load(warehouse, "web-0001")
    assert read.kind == "kfac"
    assert torch.equal(read.penalty(bank), both.penalty(bank))
    assert publish(warehouse, "web-0001", read, {"shard": "a"}) == header


def test_a_fisher_needs_a_target():
    with pytest.raises(ValueError, match="target"):
        fisher_of(tiny(), [{**ROWS[0], "weights": [0.0] * len(ROWS[0]["weights"])}], "kfac", pad_id=0)


def test_ewc_keeps_the_old_sequence_better_than_no_penalty():
    """The point of it: on the way to a new sequence, the distribution on an old one moves less."""
    config = TrainingConfig(rank=2)
    old, new = row("please renew my loan renew_loan done"), row("card not found find_member done thank you")
    target = torch.tensor([old["input_ids"]])

    def trained(strength: float) -> tuple[float, float]:
        model = tiny()
        model.requires_grad_(False)
        before = model(target).logits.detach().log_softmax(-1)
        fisher = fisher_of(model, [old] * 64, "kfac", pad_id=0)
        bank = AdapterBank.fresh(model, 1, config)
        optimizer = torch.optim.Adam([bank.table], lr=3e-2)
        ids = torch.tensor([new["input_ids"]])
        for _ in range(60):
            with bank.routed([0]):
                loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])
            (loss + ewc(fisher, strength)(bank).sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
        with bank.routed([0]):
            after = model(target).logits.detach().log_softmax(-1)
        return float((before.exp() * (before - after)).sum(-1).mean()), loss.item()

    (moved, learned), (moved_less, learned_less) = trained(0.0), trained(1.0)
    assert learned < 5.3
    assert learned_less < 5.5  # 5.8 before
    assert moved_less < 0.3 * moved
