"""Training one adapter on one shard. It receives a loaded model; what it stands on is decided by `models`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.lora import attach
from synde_pipeline.training.losses import weighted_loss
from synde_pipeline.training.shards import ShardRow

MICRO_BATCH = 4
"""Windows in memory at once; an optimiser step adds up as many as it needs. Does not change the result."""


@dataclass(frozen=True)
class Trained:
    """A trained adapter, still attached to its model."""

    peft_model: Any
    curve: list[float]
    """Mean loss per weighted token (nats) of each optimiser step."""
    n_target_tokens: int


def train_adapter(model: Any, rows: Sequence[ShardRow], config: TrainingConfig, pad_id: int) -> Trained:
    """Train a LoRA adapter on the model by AdamW with a decaying rate; the model's own weights stay frozen.

    Raises:
        ValueError: the shard holds no sequence.
    """
    import torch

    if not rows:
        raise ValueError("the shard holds no sequence to train on")
    peft_model = attach(model, config)
    peft_model.train()
    parameters = [p for p in peft_model.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(config.seed)
    n_epochs = math.ceil(config.max_steps * config.batch_size / len(rows)) if config.max_steps else config.epochs
    batches = [
        order[start : start + config.batch_size]
        for order in (torch.randperm(len(rows), generator=generator).tolist() for _ in range(n_epochs))
        for start in range(0, len(rows), config.batch_size)
    ][: config.max_steps]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    schedule = (
        torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(batches))
        if config.schedule == "linear"
        else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    )
    curve = []
    for batch in tqdm(batches, desc="adapter", unit="step", disable=None, leave=False):
        curve.append(_step(peft_model, [rows[k] for k in batch], pad_id))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    n_targets = sum(weight > 0 for row in rows for weight in row["weights"])
    return Trained(peft_model.eval(), curve, n_targets)


def _step(peft_model: Any, rows: Sequence[ShardRow], pad_id: int) -> float:
    """Accumulate the gradients of one batch; returns its mean loss."""
    total_weight = sum(weight for row in rows for weight in row["weights"][1:])
    total = 0.0
    for start in range(0, len(rows), MICRO_BATCH):
        part = rows[start : start + MICRO_BATCH]
        ids = padded([row["input_ids"] for row in part], pad_id)
        weights, avoid = flags(part, ids.shape[1])
        logits = peft_model(input_ids=ids, use_cache=False).logits
        loss, _ = weighted_loss(logits, ids, weights, avoid)
        (loss / total_weight).backward()
        total += loss.item()
    return total / total_weight


def padded(sequences: Sequence[Sequence[int]], pad_id: int) -> Any:
    """Token ids padded on the right, shape (batch, tokens), int64.

    No attention mask goes with them: a causal model's earlier tokens never see the padding behind them, and without a
    mask the attention kernels skip the upper triangle.
    """
    import torch

    ids = torch.full((len(sequences), max(map(len, sequences))), pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids


def flags(rows: Sequence[ShardRow], width: int) -> tuple[Any, Any]:
    """Weights (batch, tokens) float32 and unlikelihood flags (batch, tokens) bool, padded with nothing to learn."""
    import torch

    weights = torch.zeros((len(rows), width))
    avoid = torch.zeros((len(rows), width), dtype=torch.bool)
    for k, row in enumerate(rows):
        weights[k, : len(row["weights"])] = torch.tensor(row["weights"])
        avoid[k, : len(row["avoid"])] = torch.tensor(row["avoid"])
    return weights, avoid
