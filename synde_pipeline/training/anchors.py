"""Anchors: what an adapter must leave as it is. Sequences of other scopes, at the tokens that the base is sure of.

An adapter is trained on a few scopes, but moves the whole model: without a counterweight it forgets how to read hints
and to copy values. The other scopes' logs show both, and nothing that it could learn: every target is the base's own.
"""

from collections.abc import Sequence
from typing import Any

from synde_pipeline.training.shards import ShardRow

SURE = 0.9
"""Probability of the logged token from which on the base counts as sure of it."""
_BATCH = 16


def anchors(model: Any, rows: Sequence[ShardRow], n: int, *, seed: int, pad_id: int) -> list[ShardRow]:
    """`n` of the rows at most, drawn by a seed, with weight 1 where the base is sure and 0 elsewhere.

    Args:
        model: the pinned base, without an adapter.
        rows: sequences of other scopes.
        n: how many.
        seed: of the draw.
        pad_id: any token id; what stands behind a sequence does not matter to it.
    """
    import torch

    from synde_pipeline.training.packing import padded

    generator = torch.Generator().manual_seed(seed)
    drawn = [rows[k] for k in torch.randperm(len(rows), generator=generator)[:n].tolist()]
    found = []
    for start in range(0, len(drawn), _BATCH):
        part = drawn[start : start + _BATCH]
        ids = padded([row["input_ids"] for row in part], pad_id)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1]  # (batch, length - 1, vocabulary)
            sure = logits.softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1) >= SURE
        for row, flags in zip(part, sure, strict=True):
            length = len(row["input_ids"])
            weights = [0.0, *flags[: length - 1].float().tolist()]
            if any(weights):
                plain = {"weights": weights, "avoid": [False] * length, "teacher_ids": [], "teacher_at": []}
                found.append({**row, "is_replay": True, **plain})
    return found
