"""Forward passes of K adapters in training on one frozen model, by the fastest way that is right on this model."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from synde_pipeline.settings import MachineConfig, TrainingConfig
from synde_pipeline.training.attention import packed_attention
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora_linear import LoraLinear, Route, replaced
from synde_pipeline.training.packing import Item, MicroBatch, TrainingSequence, micro_batch, micro_batches
from synde_pipeline.training.target_rows import TargetRows, layer_names

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Largest difference of logits, relative to the largest logit, up to which a fast way counts as right."""

CHECKED = 192
"""Tokens of a sequence on which ways are compared: what goes wrong in packing does so from the second sequence on."""


@dataclass(frozen=True)
class Way:
    """How forward passes are made: the first one right on a model is taken."""

    packed: bool
    """Sequences end to end with attention by sequence; else padded, with the model's own."""
    last_layer: bool
    """The last layer's additions at predicting positions alone."""


WAYS = [Way(packed, last_layer) for packed, last_layer in product((True, False), repeat=2)]


class Engine:
    """The model with trainable adapters while `running`."""

    def __init__(self, model: Any, bank: AdapterBank, config: TrainingConfig, machine: MachineConfig) -> None:
        self.model, self.bank, self.config, self.machine = model, bank, config, machine
        bank.table.grad = torch.zeros_like(bank.table)
        self.way = WAYS[-1]
        self._reads_targets = False
        self._changes = ExitStack()
        self._route = Route()
        modules = dict(model.named_modules())
        self._linears = [LoraLinear(bank, name, modules[name], self._route, config) for name in bank.names]
        self._targets = TargetRows(model, bank.names)
        self._layers = [modules[name] for name in layer_names(bank.names)]

    @property
    def vocabulary(self) -> int:
        """How many tokens the head knows."""
        return self.model.get_output_embeddings().weight.shape[0]

    @contextmanager
    def running(self, examples: Sequence[TrainingSequence]) -> Iterator[None]:
        """Put the adapters into the model, and take them out in the end.

        Args:
            examples: sequences on which the fast ways are compared with the plain model.
        """
        self.way = self._best_way(examples)
        with self._changes:
            self._changes.enter_context(self._changed(self.way))
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The model as everyone else knows it; the bank's own hooks work inside."""
        self._changes.close()
        try:
            yield
        finally:
            self._changes.enter_context(self._changed(self.way))

    def begin_step(self, step: int) -> None:
        """Take the adapters as they are now, with no gradient yet."""
        self._route.step = step
        self.bank.table.grad.zero_()  # type: ignore[union-attr]
        for linear in self._linears:
            linear.fold()

    def micro_batches(self, items: Sequence[Item]) -> Iterator[MicroBatch]:
        """A batch in the parts that the machine's limit asks for."""
        return micro_batches(items, self.machine.tokens_at_once, self.model.device, packed=self.way.packed)

    def logits(self, part: MicroBatch, *, adapters: bool = True) -> Any:
        """(targets, vocabulary) at the positions that predict the targets, with the adapters or of the base."""
        self._route.pieces, self._route.target_pieces = part.pieces, part.target_pieces
        self._route.is_on = adapters
        self._targets.rows = part.predicting
        packed = {} if part.lengths is None else {"position_ids": part.position_ids, "sequence_lengths": part.lengths}
        if packed and self._reads_targets:
            packed["last_queries"] = [item.sequence.targets - 1 for item in part.items]
        return self.model(input_ids=part.ids, use_cache=False, **packed).logits[0]

    @torch.no_grad()
    def base_logits(self, sequences: Sequence[TrainingSequence]) -> Iterator[tuple[int, Any]]:
        """Index of a sequence and what the base predicts at its targets; those without targets are left out."""
        for part in self.micro_batches([Item(0, one, place=k) for k, one in enumerate(sequences)]):
            lengths = [len(item.sequence.targets) for item in part.items]
            for item, logits in zip(part.items, self.logits(part, adapters=False).split(lengths), strict=True):
                yield item.place, logits

    @contextmanager
    def _changed(self, way: Way) -> Iterator[None]:
        self._reads_targets = way.last_layer
        for linear in self._linears:
            linear.on_targets = way.last_layer and linear.name in self._targets.names
        with ExitStack() as stack:
            stack.enter_context(self._targets.hooked(last_layer=way.last_layer))
            stack.enter_context(replaced({linear.module: linear.forward for linear in self._linears}))
            if self.machine.gradient_checkpointing:
                stack.enter_context(replaced({layer: partial(_recomputed, layer.forward) for layer in self._layers}))
            if way.packed:
                stack.enter_context(packed_attention(self.model))
            yield

    @torch.no_grad()
    def _best_way(self, examples: Sequence[TrainingSequence]) -> Way:
        """The first way whose logits are the plain model's, on the longest sequence beside the shortest."""
        useful = sorted((one for one in examples if len(one.targets)), key=lambda one: one.n_tokens)
        # Attention that slides shows what it does behind its window alone.
        n = CHECKED + (getattr(self.model.config.get_text_config(), "sliding_window", None) or 0)
        items = [Item(0, useful[-1].beginning(n)), Item(0, useful[0].beginning(n), place=1)]
        device = self.model.device
        self.begin_step(0)
        with self._changed(WAYS[-1]):
            plain = [self.logits(micro_batch([item], device, packed=False), adapters=False) for item in items]
        expected = torch.cat(plain)
        tolerance = _TOLERANCE.get(expected.dtype, 1e-4) * expected.abs().max()
        for way in WAYS[:-1]:
            try:
                with self._changed(way):
                    found = self.logits(micro_batch(items, device, packed=way.packed), adapters=False)
            # The family takes no argument of ours, or loses it on the way, or its MLP adds to what it is not given.
            except (TypeError, KeyError, ValueError, RuntimeError):
                continue
            if (found - expected).abs().max() <= tolerance:
                return way
        return WAYS[-1]


def _recomputed(forward: Any, *args: Any, **options: Any) -> Any:
    """A layer whose activations are computed again in the backward pass instead of kept."""
    return checkpoint(forward, *args, use_reentrant=False, **options)
