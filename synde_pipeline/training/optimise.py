"""The optimiser steps of K adapters side by side: what each learns is exactly what it would learn alone."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.engine import Engine
from synde_pipeline.training.losses import divergence, token_losses
from synde_pipeline.training.packing import Item, MicroBatch, TrainingSequence
from synde_pipeline.training.references import taught_targets, teacher_log_p

_MAX_NORM = 1.0


class Optimisation:
    """AdamW on the adapters of a bank, each with its own order, clipping, schedule and number of steps."""

    def __init__(self, engine: Engine, groups: Sequence[Sequence[TrainingSequence]], config: TrainingConfig) -> None:
        self.engine, self.groups, self.config = engine, groups, config
        self.step = 0
        self.n_steps = [config.max_steps or math.ceil(config.epochs * len(rows) / config.batch_size) for rows in groups]
        self.curves: list[list[float]] = [[] for _ in groups]
        self.peaks: list[float | None] = [None] * len(groups)
        """For each adapter, the largest KL to the base that was measured."""
        self.unlikelihood_share = 0.0
        # Views of the table's rows, and of its gradient's: an optimiser sees one adapter at a time.
        table = engine.bank.table
        self.rows = [torch.nn.Parameter(row) for row in table.detach()]
        self._gradients = list(table.grad)  # type: ignore[arg-type] - the engine has made it
        self.optimizer = torch.optim.AdamW([{"params": [row]} for row in self.rows], weight_decay=0.0, foreach=False)
        self._orders = [_batches(len(rows), config) for rows in groups]

    @property
    def active(self) -> list[int]:
        """Adapters that have steps left."""
        return [g for g, n in enumerate(self.n_steps) if self.step < n]

    @property
    def rates(self) -> list[float]:
        """The learning rate of each adapter in this step."""
        rate = self.config.learning_rate
        return [rate * _decay(self.step / n, self.config) if self.step < n else 0.0 for n in self.n_steps]

    def skip_to(self, step: int) -> None:
        """Draw the batches of steps that are done already."""
        while self.step < step:
            self.next_batch()
            self.step += 1

    def next_batch(self) -> list[Item]:
        """The sequences of this step; without dropout one that stands in it several times is computed once."""
        items: list[Item] = []
        for g in self.active:
            drawn = next(self._orders[g])
            once = [(k, 1) for k in drawn] if self.config.dropout else Counter(drawn).items()
            items += [Item(g, self.groups[g][k], place, count) for place, (k, count) in enumerate(once)]
        return items

    def gradients(self, items: Sequence[Item]) -> list[float]:
        """Fill the table's gradient from a batch; returns each adapter's loss per weighted token (nats)."""
        self.engine.begin_step(self.step)
        device = self.engine.model.device
        totals = torch.zeros(len(self.groups))
        for item in items:
            totals[item.adapter] += item.count * item.sequence.weights.sum()
        totals = totals.to(device)
        losses, avoided = torch.zeros_like(totals), torch.zeros_like(totals)
        for part in self.engine.micro_batches(items):
            owners, avoid = part.owners, part.gather("avoid")
            each = self._losses(part, avoid) * (part.gather("weights") * part.counts / totals[owners])
            each.sum().backward()
            losses.index_add_(0, owners, each.detach())
            avoided.index_add_(0, owners, each.detach() * avoid)
        self.unlikelihood_share = float(avoided.sum() / losses.sum())
        return losses.tolist()

    def _losses(self, part: MicroBatch, avoid: Any) -> Any:
        base_log_p = part.gather("base_log_p") if self.config.failures == "npo" else None
        teacher = teacher_log_p(self.engine, part)
        logits = self.engine.logits(part)
        each = token_losses(logits, part.labels, avoid, self.config, base_log_p)
        if teacher is None:
            return each
        taught = taught_targets(part)
        return each.masked_scatter(taught, divergence(teacher, logits[taught]))

    def update(self, losses: Sequence[float]) -> None:
        """Clip and apply the table's gradient."""
        gradient = self.engine.bank.table.grad
        assert gradient is not None  # noqa: S101 - the engine has made it
        gradient.mul_((_MAX_NORM / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0))
        for g, rate in enumerate(self.rates):
            self.rows[g].grad = self._gradients[g] if g in self.active else None
            self.optimizer.param_groups[g]["lr"] = rate
        self.optimizer.step()
        for g in self.active:
            self.curves[g].append(losses[g])
        self.step += 1

    @torch.no_grad()
    def divergence_from_base(self, items: Sequence[Item]) -> list[float]:
        """Each adapter's mean KL(adapted || base) at the targets of a batch (nats); nan where it has none."""
        device = self.engine.model.device
        sums, counts = torch.zeros(len(self.groups), device=device), torch.zeros(len(self.groups), device=device)
        for part in self.engine.micro_batches(items):
            base = self.engine.logits(part, adapters=False)
            adapted = self.engine.logits(part).float().log_softmax(-1)
            found = divergence(adapted, base)
            sums.index_add_(0, part.owners, found)
            counts.index_add_(0, part.owners, torch.ones_like(found))
        found = (sums / counts).tolist()
        for g in self.active:
            self.peaks[g] = max(found[g], self.peaks[g] or 0.0)
        return found


def _batches(n_rows: int, config: TrainingConfig) -> Iterator[list[int]]:
    """Endless batches of a group: a shuffled order, and another one behind it; a small group repeats inside a batch."""
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
