"""The loss of one batch of weighted tokens: cross-entropy on what to imitate, unlikelihood on what to avoid."""

from typing import Any

MAX_PROBABILITY = 1 - 1e-6
"""Clamp of p in log(1 - p): keeps the loss and its gradient finite where the model is certain of the mistake."""


def weighted_loss(logits: Any, ids: Any, weights: Any, avoid: Any) -> tuple[Any, Any]:
    """Sum over tokens of weight * (-log p), or weight * (-log(1 - p)) where the token is to be avoided.

    Unlikelihood (Welleck et al. 2020) is bounded where negated cross-entropy diverges; see design.md.

    Args:
        logits: (batch, tokens, vocabulary), float.
        ids: (batch, tokens), int64; token i is predicted by logits[:, i - 1].
        weights: (batch, tokens), float, 0 for context.
        avoid: (batch, tokens), bool.

    Returns:
        Summed loss in nats, and the sum of weights to divide it by.
    """
    rows, columns = (weights[:, 1:] > 0).nonzero(as_tuple=True)  # only target tokens meet the vocabulary
    weight = weights[rows, columns + 1]
    losses = token_losses(logits[rows, columns], ids[rows, columns + 1], avoid[rows, columns + 1])
    return (weight * losses).sum(), weight.sum()


def token_losses(logits: Any, targets: Any, avoid: Any) -> Any:
    """-log p, or -log(1 - p) where the token is to be avoided, of each target token.

    Args:
        logits: (targets, vocabulary), float, of the positions that predict the targets.
        targets: (targets,), int64.
        avoid: (targets,), bool.

    Returns:
        (targets,), nats.
    """
    import torch
    from torch.nn.functional import cross_entropy

    log_p = -cross_entropy(logits.float(), targets, reduction="none")
    unlikelihood = -torch.log1p(-log_p.exp().clamp(max=MAX_PROBABILITY))
    return torch.where(avoid, unlikelihood, -log_p)
