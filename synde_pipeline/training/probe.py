"""How far a model has moved from its base, on texts that no log shows."""

from collections.abc import Callable, Sequence
from typing import Any

from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.collect import logits_at, parts
from synde_pipeline.training.shards import ShardRow

LogitsAt = Callable[[Any, Any], Any]
"""(ids, where), both (batch, tokens) -> logits at the positions that `where` marks, (positions, vocabulary)."""


def plain(model: Any) -> LogitsAt:
    """A model as it stands: a merged one, or the base."""
    return lambda ids, where: logits_at(model, ids, where)


def adapted(model: Any, bank: AdapterBank, index: int) -> LogitsAt:
    """The model with one adapter of the bank that lies on it; outside, `plain` is the same model without."""

    def forward(ids: Any, where: Any) -> Any:
        with bank.routed([index]):
            return logits_at(model, ids, where)

    return forward


def kl_to_base(model: LogitsAt, base: LogitsAt, rows: Sequence[ShardRow], pad_id: int) -> tuple[float, float]:
    """KL(base || model) in nats a token at the rows' targets, exact over the vocabulary at each.

    Args:
        model: what was trained.
        base: what it started from.
        rows: probe texts of the base; each is one independent unit.
        pad_id: any token id.

    Returns:
        Mean over tokens, and its standard error clustered by text.

    Raises:
        ValueError: there are fewer than two texts with a target.
    """
    import torch

    sums: list[float] = []
    counts: list[int] = []
    for part in parts(rows, pad_id):
        with torch.inference_mode():
            log_p = base(part.ids, part.predicts).log_softmax(-1)
            log_q = model(part.ids, part.predicts).log_softmax(-1)
            each = (log_p.exp() * (log_p - log_q)).sum(-1).double()
        found = part.predicts.sum(1).tolist()
        sums += [float(values.sum()) for values in each.split(found)]
        counts += found
    n_texts, n_tokens = sum(n > 0 for n in counts), sum(counts)
    if n_texts < 2:
        raise ValueError(f"{n_texts} texts with a target; two are the fewest that show an error")
    mean = sum(sums) / n_tokens
    # Linearised ratio of sums: texts differ in length.
    squares = sum((total - mean * n) ** 2 for total, n in zip(sums, counts, strict=True))
    return mean, (squares * n_texts / (n_texts - 1)) ** 0.5 / n_tokens
