"""Reading sequences without training on them: batches, which positions matter, and what adapted modules see there.

What is made of it is in `null_space`, `regularize` and `probe`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synde_pipeline.training.shards import ShardRow

TOKENS_AT_ONCE = 2048
"""Padded tokens of a forward pass."""


@dataclass(frozen=True)
class Part:
    """A few sequences, padded on the right."""

    start: int
    """Number of the first one among all."""
    ids: Any
    """(batch, tokens), int64."""
    predicts: Any
    """(batch, tokens), bool: positions behind which a token with a weight stands."""

    @property
    def is_read(self) -> Any:
        """(batch, tokens), bool: positions that a prediction can depend on; padding is none."""
        return self.predicts.flip(1).cumsum(1).flip(1) > 0


def parts(rows: Sequence[ShardRow], pad_id: int, tokens_at_once: int = TOKENS_AT_ONCE) -> Iterator[Part]:
    """The sequences in their order, a few at a time; those without a target predict nothing."""
    import torch

    from synde_pipeline.training.packing import padded

    start = 0
    while start < len(rows):
        end, width = start + 1, len(rows[start]["input_ids"])
        while end < len(rows):
            width = max(width, len(rows[end]["input_ids"]))
            if width * (end + 1 - start) > tokens_at_once:
                break
            end += 1
        ids = padded([row["input_ids"] for row in rows[start:end]], pad_id)
        predicts = torch.zeros_like(ids, dtype=torch.bool)
        for k, row in enumerate(rows[start:end]):
            predicts[k, : len(row["weights"]) - 1] = torch.tensor(row["weights"][1:]) > 0
        yield Part(start, ids, predicts)
        start = end


@contextmanager
def inputs_seen(model: Any, names: Sequence[str], see: Callable[[str, Any], None]) -> Iterator[None]:
    """Let `see(name, x)` have the input of each named module, as (batch * tokens, in)."""
    modules = dict(model.named_modules())

    def hook(name: str) -> Any:
        return lambda _, args: see(name, args[0].detach().flatten(0, -2))

    handles = [modules[name].register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def outputs_kept(model: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep each named module's output of the latest forward pass, with a graph behind it, though weights are frozen."""
    modules = dict(model.named_modules())
    kept: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            kept[name] = output

        return hook

    def rooted(_: Any, __: Any, output: Any) -> Any:
        return output if output.requires_grad else output.requires_grad_(True)

    handles = [model.get_input_embeddings().register_forward_hook(rooted)]
    handles += [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def logits_at(model: Any, ids: Any, where: Any) -> Any:
    """Logits behind some positions alone, (positions, vocabulary), float32; the head reads no others.

    Args:
        model: a causal LM.
        ids: (batch, tokens), int64.
        where: (batch, tokens), bool.
    """

    # Cutting in front of the head leaves what some families do behind it (scaling, soft caps) in place.
    def select(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][where][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        return model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        handle.remove()
