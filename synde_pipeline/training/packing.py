"""Training rows as tensors, and micro-batches of them: sequences end to end without padding, contiguous by adapter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.shards import ShardRow


@dataclass(frozen=True)
class TrainingSequence:
    """One row as tensors. A target is a token that is learned or avoided; the first token is predicted by nothing."""

    ids: Any
    """(tokens,), int64."""
    targets: Any
    """(targets,), int64: where in `ids`."""
    weights: Any
    """(targets,), float32."""
    avoid: Any
    """(targets,), bool."""
    teacher_ids: Any = None
    """(tokens,), int64: the sequence that the teacher reads; None where the log itself is learned."""
    teacher_at: Any = None
    """(taught,), int64: where in `teacher_ids` the targets stand that are not to be avoided."""
    base_log_p: Any = None
    """(targets,), float32: log probability under the base, where the loss asks for it."""
    teacher_log_p: Any = None
    """(taught, vocabulary), float32: what the teacher predicts, where it fits in memory."""

    def beginning(self, n: int) -> "TrainingSequence":
        """Its first `n` tokens as a text without a teacher; where none of them is a target, the last one becomes it."""
        ids, inside = self.ids[:n], self.targets < n
        targets = self.targets[inside] if bool(inside.any()) else torch.tensor([len(ids) - 1])
        return TrainingSequence(ids, targets, torch.ones(len(targets)), torch.zeros(len(targets), dtype=torch.bool))

    @classmethod
    def of(cls, row: ShardRow, config: TrainingConfig) -> "TrainingSequence":
        """A row as tensors; `masked` failures are no targets."""
        ids = torch.tensor(row["input_ids"], dtype=torch.int64)
        weights = torch.tensor(row["weights"], dtype=torch.float32)
        avoid = torch.tensor(row["avoid"], dtype=torch.bool)
        wanted = (weights > 0) & ~avoid if config.failures == "masked" else weights > 0
        first_is_taught = bool(wanted[0]) and not bool(avoid[0])
        wanted[0] = False
        targets = wanted.nonzero().squeeze(-1)
        teacher = {}
        if row.get("teacher_ids"):
            at = torch.tensor(row["teacher_at"], dtype=torch.int64)[1 if first_is_taught else 0 :]
            teacher = {"teacher_ids": torch.tensor(row["teacher_ids"], dtype=torch.int64), "teacher_at": at}
        return cls(ids, targets, weights[targets], avoid[targets], **teacher)

    @property
    def n_tokens(self) -> int:
        """Its length."""
        return len(self.ids)


@dataclass(frozen=True)
class Item:
    """A sequence in a batch."""

    adapter: int
    sequence: TrainingSequence
    place: int = 0
    """In its adapter's batch."""
    count: int = 1
    """How often it stands in the batch: it is computed once and counts as often."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a matrix of tokens that belong to one adapter."""

    adapter: int
    start: int
    stop: int
    place: int


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass computes."""

    items: tuple[Item, ...]
    ids: Any
    """(1, tokens) packed, or (sequences, longest) padded on the right."""
    position_ids: Any
    """As `ids`; starts again with each sequence."""
    lengths: list[int] | None
    """Of packed sequences; None where they are padded."""
    pieces: list[Piece]
    """Of all tokens, flat, one for each sequence."""
    target_pieces: list[Piece]
    """Of the positions that predict targets."""
    predicting: Any
    """(targets,), int64: the flat positions that predict the targets."""

    def gather(self, name: str) -> Any:
        """One field of all sequences end to end."""
        return torch.cat([getattr(item.sequence, name) for item in self.items]).to(self.ids.device)

    @property
    def labels(self) -> Any:
        """(targets,), int64: the targets themselves."""
        found = torch.cat([item.sequence.ids[item.sequence.targets] for item in self.items])
        return found.to(self.ids.device)

    @property
    def owners(self) -> Any:
        """(targets,), int64: the adapter of each target."""
        return self._spread([item.adapter for item in self.items])

    @property
    def counts(self) -> Any:
        """(targets,), int64: how often each target stands in the batch."""
        return self._spread([item.count for item in self.items])

    def _spread(self, values: list[int]) -> Any:
        lengths = torch.tensor([len(item.sequence.targets) for item in self.items])
        return torch.tensor(values).repeat_interleave(lengths).to(self.ids.device)


def micro_batches(items: Sequence[Item], limit: int, device: Any, *, packed: bool) -> Iterator[MicroBatch]:
    """A batch in parts of about `limit` tokens; a longer sequence is a part of its own."""
    useful = [item for item in items if len(item.sequence.targets)]
    order = (lambda item: item.adapter) if packed else (lambda item: -item.sequence.n_tokens)
    part: list[Item] = []
    tokens = 0
    for item in sorted(useful, key=order):
        if part and tokens + item.sequence.n_tokens > limit:
            yield micro_batch(part, device, packed=packed)
            part, tokens = [], 0
        part.append(item)
        tokens = tokens + item.sequence.n_tokens if packed else part[0].sequence.n_tokens * len(part)
    if part:
        yield micro_batch(part, device, packed=packed)


def micro_batch(items: Sequence[Item], device: Any, *, packed: bool) -> MicroBatch:
    """Lay sequences end to end by adapter, or below each other."""
    ordered = tuple(sorted(items, key=lambda item: item.adapter))
    sequences = [item.sequence for item in ordered]
    lengths = [sequence.n_tokens for sequence in sequences]
    width = max(lengths)
    if packed:
        ids = torch.cat([sequence.ids for sequence in sequences])[None]
        places = torch.cat([torch.arange(n) for n in lengths])[None]
        steps = lengths
    else:
        ids = padded([sequence.ids for sequence in sequences])
        places = torch.arange(width).expand_as(ids)
        steps = [width] * len(lengths)
    starts = [sum(steps[:k]) for k in range(len(steps))]
    predicting = torch.cat([start + s.targets - 1 for start, s in zip(starts, sequences, strict=True)])
    return MicroBatch(
        ordered,
        ids.to(device),
        places.to(device),
        lengths if packed else None,
        _pieces(ordered, steps),
        _pieces(ordered, [len(sequence.targets) for sequence in sequences]),
        predicting.to(device),
    )


def _pieces(items: Sequence[Item], steps: Sequence[int]) -> list[Piece]:
    found, start = [], 0
    for item, step in zip(items, steps, strict=True):
        found.append(Piece(item.adapter, start, start + step, item.place))
        start += step
    return found


def by_adapter(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbouring pieces of one adapter as one."""
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: piece.adapter)]
    return [Piece(group[0].adapter, group[0].start, group[-1].stop, 0) for group in groups]


def padded(sequences: Sequence[Any], pad_id: int = 0) -> Any:
    """Token ids padded on the right, shape (batch, tokens), int64.

    No attention mask goes with them: a causal model's earlier tokens never see the padding behind them, and without a
    mask the attention kernels skip the upper triangle.
    """
    ids = torch.full((len(sequences), max(map(len, sequences))), pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.as_tensor(sequence)
    return ids
