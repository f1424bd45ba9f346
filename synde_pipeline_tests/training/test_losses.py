"""The losses against their formulas, and what each does to a token that is to be avoided."""

import math

import pytest
import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.losses import divergence, token_losses
from synde_pipeline.training.train import train
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.training.test_train import CONFIG, ROWS, nll, our_gradients, row

UNLIKELIHOOD = TrainingConfig()
BAD = row("please renew my loan renew_loan done", avoid=True)


def config(**values) -> TrainingConfig:
    return CONFIG.model_copy(update=values)


def test_imitation_is_cross_entropy_and_avoidance_bounded_unlikelihood():
    torch.manual_seed(0)
    logits = torch.randn(3, 7)
    labels, avoid = torch.tensor([2, 0, 4]), torch.tensor([False, False, True])
    p = logits.double().softmax(-1)
    expected = torch.stack([-p[0, 2].log(), -p[1, 0].log(), -(1 - p[2, 4]).log()])
    assert torch.allclose(token_losses(logits, labels, avoid, UNLIKELIHOOD).double(), expected, atol=1e-6)


def test_unlikelihood_stays_finite_where_the_model_is_certain_of_the_mistake():
    logits = torch.zeros(1, 5)
    logits[0, 3] = 200.0
    logits.requires_grad_()
    loss = token_losses(logits, torch.tensor([3]), torch.tensor([True]), UNLIKELIHOOD).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_npo_is_its_formula_and_its_gradient_falls_with_the_probability(beta):
    logits = torch.tensor([[1.0, 0.0, -1.0], [-5.0, 3.0, 2.0]], requires_grad=True)
    labels, avoid = torch.tensor([0, 0]), torch.tensor([True, True])
    base = torch.tensor([0.4, 0.6])
    found = token_losses(logits, labels, avoid, config(failures="npo", npo_beta=beta), base.log())
    p = logits.detach().softmax(-1)[:, 0]
    assert torch.allclose(found, 2 / beta * torch.log1p((p / base) ** beta), atol=1e-6)
    found.sum().backward()
    weight = 2 * p**beta / (p**beta + base**beta)  # times d log p / d logit = 1 - p
    assert torch.allclose(logits.grad[:, 0], weight * (1 - p), atol=1e-6)


def test_npo_starts_at_two_log_two_over_beta_whatever_the_base_says():
    """The reference is the base itself: at the start every avoided token has p = p_base."""
    trained = train(tiny(), [[BAD]], config(failures="npo", npo_beta=0.5, max_steps=1))
    assert trained.curves[0] == [pytest.approx(2 / 0.5 * math.log(2), rel=1e-5)]


@pytest.mark.parametrize("failures", ["unlikelihood", "npo", "negated"])
def test_what_is_to_be_avoided_becomes_unlikely(failures):
    model = tiny()
    before = nll(model, BAD)
    trained = train(model, [[BAD]], config(failures=failures, allow_negated=True))
    with trained.bank.routed([0]):
        assert nll(model, BAD) > before


def test_masked_failures_teach_nothing():
    mixed = {**BAD, "avoid": [False] * 4 + BAD["avoid"][4:], "weights": [0.0, 1.0, 1.0, 1.0, *BAD["weights"][4:]]}
    plain = {**mixed, "weights": [w if not a else 0.0 for w, a in zip(mixed["weights"], mixed["avoid"], strict=True)]}
    one, two = (train(tiny(), [[rows]], config(failures="masked")) for rows in (mixed, plain))
    assert one.curves == two.curves
    assert torch.equal(one.bank.table, two.bank.table)


# -- context distillation -------------------------------------------------------------------------------------------


def taught(hint: str, text: str) -> dict:
    """A row whose teacher reads a hint in front of it."""
    one, before = row(text), row(hint)["input_ids"]
    at = [len(before) + i for i, weight in enumerate(one["weights"]) if weight]
    return {**one, "teacher_ids": before + one["input_ids"], "teacher_at": at}


def test_divergence_is_its_formula():
    torch.manual_seed(1)
    teacher, logits = torch.randn(4, 9).log_softmax(-1), torch.randn(4, 9)
    expected = (teacher.exp() * (teacher - logits.log_softmax(-1))).sum(-1)
    assert torch.allclose(divergence(teacher, logits), expected, atol=1e-6)


def test_the_first_loss_of_distillation_is_the_divergence_between_the_two_contexts():
    one, model = taught("error card not found", "please renew my loan done"), tiny()
    with torch.inference_mode():
        teacher = model(torch.tensor([one["teacher_ids"]])).logits[0].log_softmax(-1)
        student = model(torch.tensor([one["input_ids"]])).logits[0].log_softmax(-1)
    at = [i for i, weight in enumerate(one["weights"]) if weight]
    expected = [
        float((teacher[j - 1].exp() * (teacher[j - 1] - student[i - 1])).sum())
        for i, j in zip(at, one["teacher_at"], strict=True)
    ]
    mean = sum(expected) / len(expected)
    groups = [[one], [ROWS[0], one]]
    bank = AdapterBank.fresh(tiny(), 2, config())
    _, asked, _ = our_gradients(tiny(), bank, groups, config())
    assert asked[0] == pytest.approx(mean, rel=1e-3)
    trained = train(tiny(), groups, config(learning_rate=2e-3, max_steps=30))
    assert trained.curves[0][0] == pytest.approx(mean, rel=1e-3)
    assert trained.curves[0][-1] < trained.curves[0][0] / 2


def test_teachers_that_fit_no_memory_are_asked_at_every_step():
    group = [taught("error card not found", "please renew my loan done"), ROWS[1], BAD]
    kept = train(tiny(), [group], config(batch_size=3, max_steps=1))
    bank = AdapterBank.fresh(tiny(), 1, config())
    _, asked, _ = our_gradients(tiny(), bank, [group], config(batch_size=3))
    assert kept.curves[0] == pytest.approx(asked, rel=1e-4)
