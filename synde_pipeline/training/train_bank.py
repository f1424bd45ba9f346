"""Training the adapters of a cycle in one pass: each row of a batch goes through its own adapter of a bank.

What each adapter learns is exactly what it would learn alone: own data order, own loss, own clipping, own schedule.
Which rows belong to which adapter is decided by `models.bank`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.losses import token_losses
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import flags, padded

MICRO_TOKENS = 1024
"""Padded tokens in memory at once; an optimiser step adds up as many micro-batches as it needs."""

Batch = list[tuple[int, ShardRow]]
"""Sequences of one optimiser step with the index of their adapter."""


@dataclass(frozen=True)
class TrainedBank:
    """Trained adapters, still attached to their model."""

    bank: AdapterBank
    curves: list[list[float]]
    """For each adapter the mean loss per weighted token (nats) of each of its optimiser steps."""
    n_target_tokens: list[int]
    """For each adapter, target tokens of its rows."""


def train_bank(model: Any, groups: Sequence[Sequence[ShardRow]], config: TrainingConfig, pad_id: int) -> TrainedBank:
    """Train one fresh adapter for each group of rows by AdamW; the model's own weights stay frozen.

    Raises:
        ValueError: a group holds no sequence.
        InputError: the config asks for dropout.
    """
    if not groups or not all(groups):
        raise ValueError("a group holds no sequence to train on")
    bank = AdapterBank.fresh(model, len(groups), config)
    curves = fit(bank, model, groups, config, pad_id)
    targets = [sum(weight > 0 for row in rows for weight in row["weights"]) for rows in groups]
    return TrainedBank(bank, curves, targets)


def fit(
    bank: AdapterBank, model: Any, groups: Sequence[Sequence[ShardRow]], config: TrainingConfig, pad_id: int
) -> list[list[float]]:
    """Train the adapters of a bank where they stand; returns their loss curves."""
    import torch

    model.requires_grad_(False)
    # The base's own dropout (GPT-2 has some) stays off: its random numbers would tie the groups together.
    model.eval()
    bank.table.requires_grad_(True)
    n_steps = [config.max_steps or math.ceil(config.epochs * len(rows) / config.batch_size) for rows in groups]
    orders = [_batches(len(rows), config) for rows in groups]
    # One parameter an adapter, sharing the table's memory: clipping and schedules see one adapter at a time.
    rows_of = [torch.nn.Parameter(row) for row in bank.table.detach().unbind()]
    optimizer = torch.optim.AdamW(
        [{"params": [row]} for row in rows_of], lr=config.learning_rate, weight_decay=0.0, foreach=False
    )
    curves: list[list[float]] = [[] for _ in groups]
    for step in tqdm(range(max(n_steps)), desc="adapters", unit="step", disable=None, leave=False):
        active = [g for g, n in enumerate(n_steps) if step < n]
        batch = [(g, groups[g][k]) for g in active for k in next(orders[g])]
        losses = _accumulate(bank, model, batch, pad_id)
        for g in active:
            curves[g].append(losses[g])
            rows_of[g].grad = bank.table.grad[g]  # type: ignore[index] - backward has just filled it
            torch.nn.utils.clip_grad_norm_([rows_of[g]], 1.0)
            optimizer.param_groups[g]["lr"] = config.learning_rate * _decay(step / n_steps[g], config)
        optimizer.step()
        optimizer.zero_grad()
        bank.table.grad = None
    return curves


def _batches(n_rows: int, config: TrainingConfig) -> Iterator[list[int]]:
    """Endless batches of a group: a shuffled order, and another one behind it; a small group repeats inside a batch."""
    import torch

    generator = torch.Generator().manual_seed(config.seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < config.batch_size:
            waiting += torch.randperm(n_rows, generator=generator).tolist()
        yield waiting[: config.batch_size]
        waiting = waiting[config.batch_size :]


def _decay(progress: float, config: TrainingConfig) -> float:
    """Learning rate factor at a share of the steps in [0, 1)."""
    return 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def _accumulate(bank: AdapterBank, model: Any, batch: Batch, pad_id: int) -> list[float]:
    """Gradients of one optimiser step, each adapter's loss divided by its own weights; returns each adapter's loss."""
    import torch

    totals = torch.zeros(bank.n_adapters)
    for g, row in batch:
        totals[g] += sum(row["weights"][1:])
    losses = torch.zeros(bank.n_adapters)
    for part in _micro_batches(batch):
        ids = padded([row["input_ids"] for _, row in part], pad_id)
        weights, avoid = flags([row for _, row in part], ids.shape[1])
        indices = torch.tensor([g for g, _ in part])
        rows, columns = (weights[:, 1:] > 0).nonzero(as_tuple=True)  # of the positions that predict a target
        owner = indices[rows]
        with bank.routed(indices), _head_at(model, rows, columns):
            logits = model(input_ids=ids, use_cache=False).logits[0]  # (targets, vocabulary)
        each = token_losses(logits, ids[rows, columns + 1], avoid[rows, columns + 1])
        each = each * weights[rows, columns + 1] / totals[owner]
        each.sum().backward()
        losses.index_add_(0, owner, each.detach())
    return losses.tolist()


def _micro_batches(batch: Batch) -> Iterator[Batch]:
    """The step's sequences in parts of about equal length, so that little is padded."""
    part: Batch = []
    for g, row in sorted(batch, key=lambda item: len(item[1]["input_ids"]), reverse=True):
        if part and len(part[0][1]["input_ids"]) * (len(part) + 1) > MICRO_TOKENS:
            yield part
            part = []
        part.append((g, row))
    yield part


@contextmanager
def _head_at(model: Any, rows: Any, columns: Any) -> Iterator[None]:
    """Let the model's head see these positions alone: its logits are (1, positions, vocabulary).

    Cutting in front of the head leaves what some families do behind it (scaling, soft caps) in place.
    """

    def select(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][rows, columns][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
