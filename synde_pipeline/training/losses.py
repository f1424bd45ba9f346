"""The loss of each target token: what to imitate, what to avoid, and whose distribution to follow."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, softplus

from synde_pipeline.settings import TrainingConfig

MAX_PROBABILITY = 1 - 1e-6
"""Clamp of p in log(1 - p): keeps the loss and its gradient finite where the model is certain of the mistake."""


def token_losses(logits: Any, labels: Any, avoid: Any, config: TrainingConfig, base_log_p: Any = None) -> Any:
    """-log p of each target token, or where it is to be avoided what `config.failures` says (theory notes E.2).

    unlikelihood: -log(1 - p), bounded (Welleck et al. 2020). npo: (2 / beta) log(1 + (p / p_base)^beta) (Zhang et al.
    2024). negated: log p, unbounded below.

    Args:
        logits: (targets, vocabulary), float, of the positions that predict the targets.
        labels: (targets,), int64.
        avoid: (targets,), bool.
        config: how failures are learned.
        base_log_p: (targets,), log probability under the base; needed by npo alone.

    Returns:
        (targets,), nats.
    """
    log_p = -cross_entropy(logits.float(), labels, reduction="none")
    return torch.where(avoid, _avoidance(log_p, base_log_p, config), -log_p)


def _avoidance(log_p: Any, base_log_p: Any, config: TrainingConfig) -> Any:
    if config.failures == "npo":
        return softplus(config.npo_beta * (log_p - base_log_p)) * (2 / config.npo_beta)
    if config.failures == "negated":
        return log_p
    return -torch.log1p(-log_p.exp().clamp(max=MAX_PROBABILITY))


def divergence(teacher_log_p: Any, logits: Any) -> Any:
    """KL(teacher || model) over the vocabulary, (targets,), nats; both arguments are (targets, vocabulary)."""
    log_p = logits.float().log_softmax(-1)
    return kl_div(log_p, teacher_log_p.float(), reduction="none", log_target=True).sum(-1)
