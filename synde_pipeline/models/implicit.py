"""The change of weights that a context amounts to, for one query token: two forward passes, rank 1 for each matrix.

What stands before a query changes what a block's MLP reads (z -> z_C) and what the block returns (y -> y_C). With

    dW = (W (z_C - z)) z^T / |z|^2      the MLP's first matrices (gate and up, or the only one)
    dV = (y_C - y) u^T / |u|^2          its output matrix; u is what that reads under the patched first ones

the model that sees the query alone computes what the model with the context computes. First matrices: Dherin et al.
(arXiv 2507.16003), theorem 2.2; gated MLPs: Goldwaser et al. (arXiv 2511.17864). Without the second patch the theorem
does not hold for blocks with a residual stream. Where a norm of scale s follows the output matrix (Gemma 2 and 3), what
the block lacks is reached in direction and length apart: with t = y_C - y + s norm(m), m = V u and r = rms(t / s),

    dV = (rms(m) t / (s r) - m) u^T / |u|^2,    ds = (r - 1) s

Patches that serve all queries are in `studies.mechanism`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from synde_pipeline.base_model import attention_outputs, mlp_targets
from synde_pipeline.errors import BaseModelError
from synde_pipeline.training.bank import is_transposed

Update = Mapping[str, torch.Tensor]
"""Name of a parameter -> what is added to it, in its own shape."""

_OUTPUTS = ("down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h")
_MIDDLE_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
_POST_NORM = "post_feedforward_layernorm"


@dataclass(frozen=True)
class Block:
    """Names of one transformer block's modules."""

    name: str
    first: tuple[str, ...]
    """The MLP's first matrices, all of which read the same z."""
    down: str
    """The MLP's output matrix."""
    attention: str
    """The attention's output matrix."""
    norm: str
    """Norm before the MLP; its input is the residual stream behind the attention, unless both run in parallel."""
    post_norm: str | None
    """Norm behind the output matrix."""
    is_parallel: bool
    """Whether attention and MLP read the same residual stream."""

    @property
    def names(self) -> list[str]:
        """All modules that are watched."""
        return [self.name, *self.first, self.down, self.attention, self.norm]


def blocks_of(model: Any) -> list[Block]:
    """The blocks of a causal LM, first one first (Llama, Qwen, Mistral, Gemma, GPT-2 and GPT-NeoX families).

    Raises:
        BaseModelError: a block's MLP has no output matrix of a known name, or nothing else.
    """
    by_block: dict[str, list[str]] = {}
    for name in mlp_targets(model):
        by_block.setdefault(name.partition(".mlp.")[0], []).append(name)
    modules = dict(model.named_modules())
    is_parallel = bool(getattr(model.config, "use_parallel_residual", False))
    found = []
    for name, matrices in by_block.items():
        down = [one for one in matrices if one.rsplit(".", 1)[-1] in _OUTPUTS]
        norms = [f"{name}.{leaf}" for leaf in _MIDDLE_NORMS if f"{name}.{leaf}" in modules]
        first = tuple(one for one in matrices if one not in down)
        if len(down) != 1 or not norms or not first:
            raise BaseModelError(
                f"the MLP of {name} is {matrices}", expected="first matrices, one output, a norm before"
            )
        post = f"{name}.{_POST_NORM}"
        (attention,) = (one for one in attention_outputs(modules) if one.startswith(f"{name}."))
        found.append(Block(name, first, down[0], attention, norms[0], post if post in modules else None, is_parallel))
    return found


@dataclass
class Record:
    """What modules read and returned in the last forward pass, by name: (batch, tokens, width)."""

    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)

    def at(self, rows: Any) -> "Record":
        """The same at some positions: `rows` indexes (batch, tokens), and (n, width) is left."""
        return Record(*({k: v[rows] for k, v in part.items()} for part in (self.inputs, self.outputs)))


@contextmanager
def recorded(model: Any, names: Sequence[str], forced: Mapping[str, torch.Tensor] | None = None) -> Iterator[Record]:
    """Record modules while the model runs inside.

    Args:
        model: the model.
        names: of the modules.
        forced: what some of them return instead of what they compute; the record keeps what they compute.
    """
    record, modules = Record(), dict(model.named_modules())

    def keep(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            record.inputs[name], record.outputs[name] = args[0], value
            if forced is None or name not in forced:
                return None
            new = forced[name].view_as(value)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def run(model: Any, tokens: torch.Tensor, positions: torch.Tensor | None = None, cache: Any = None) -> torch.Tensor:
    """Logits (batch, tokens, vocabulary) of token ids (batch, tokens) or of embeddings (batch, tokens, width)."""
    given = {"inputs_embeds" if tokens.is_floating_point() else "input_ids": tokens}
    if positions is not None:
        given["position_ids"] = positions[None].expand(len(tokens), -1)
    return model(**given, past_key_values=cache, use_cache=cache is not None).logits


class Query:
    """A query in a batch of prompts, with its context and without; both end with the query token.

    What `without` holds before the query token is read here, by the model as it is now: the theorem's C without Y.

    Args:
        model: a causal LM in evaluation mode.
        with_context: (batch, n) token ids or (batch, n, width) embeddings.
        without: (batch, m) or (batch, m, width); the query token alone where m is 1.
    """

    def __init__(self, model: Any, with_context: torch.Tensor, without: torch.Tensor) -> None:
        from transformers import DynamicCache

        self.model, self.with_context = model, with_context
        self._token, self._cache = without[:, -1:], None
        n, m = with_context.shape[1], without.shape[1]
        self._place = torch.arange(n - 1, n)
        if m > 1:
            self._cache = DynamicCache(config=model.config)
            with torch.no_grad():
                run(model, without[:, :-1], torch.arange(n - m, n - 1), self._cache)

    @torch.no_grad()
    def in_context(self) -> torch.Tensor:
        """Logits (batch, vocabulary) behind the context."""
        return run(self.model, self.with_context)[:, -1]

    @torch.no_grad()
    def alone(self) -> torch.Tensor:
        """Logits (batch, vocabulary) without the context, under the model's weights as they are now.

        The query keeps the position that it has behind the context.
        """
        return run(self.model, self._token, self._place, copy.deepcopy(self._cache))[:, -1]


@dataclass(frozen=True)
class Factors:
    """The update of one parameter for each query of a batch."""

    left: torch.Tensor
    """(batch, out): W (z_C - z), or y_C - y. For a scale the update itself."""
    right: torch.Tensor | None
    """(batch, in): z / |z|^2; None for a scale."""
    transposed: bool = False
    """Whether the parameter is kept as (in, out)."""

    def dense(self, row: int) -> torch.Tensor:
        """The update of one query, in the parameter's shape."""
        if self.right is None:
            return self.left[row]
        left, right = (self.right, self.left) if self.transposed else (self.left, self.right)
        return torch.outer(left[row], right[row])

    def cosines(self) -> torch.Tensor:
        """(batch, batch): cosine between the updates of two queries; <a b^T, c d^T> = <a, c> <b, d>."""
        unit = torch.nn.functional.normalize(self.left, dim=-1)
        found = unit @ unit.T
        if self.right is not None:
            unit = torch.nn.functional.normalize(self.right, dim=-1)
            found = found * (unit @ unit.T)
        return found

    def norms(self) -> torch.Tensor:
        """(batch,): Frobenius norm of each query's update."""
        norm = self.left.norm(dim=-1)
        return norm if self.right is None else norm * self.right.norm(dim=-1)


@torch.no_grad()
def implicit_updates(query: Query) -> dict[str, Factors]:
    """The update of each row of a batch, by name of parameter.

    The second pass reads the query without its context while every block is given what it got with the context, so one
    pass holds the patches of all layers (theorem C.2: layer l at the contextual input).
    """
    model, blocks = query.model, blocks_of(query.model)
    names = [name for block in blocks for name in block.names]
    with recorded(model, names) as record:
        query.in_context()
    last = {name: value[:, -1:] for name, value in record.outputs.items() if name in {*_watched(blocks)}}
    with recorded(model, names, forced=last) as own:
        query.alone()
    modules, found = dict(model.named_modules()), {}
    for block in blocks:
        z = own.inputs[block.first[0]][:, -1]
        for name in block.first:
            moved = (last[name] - own.outputs[name])[:, -1]
            found[f"{name}.weight"] = _factors(modules[name], moved, z)
        moved = (last[block.name] - own.outputs[block.name])[:, -1]
        if block.post_norm is not None:
            norm = modules[block.post_norm]
            moved, stretch = _behind_norm(norm, own.outputs[block.down][:, -1], moved)
            found[f"{block.post_norm}.weight"] = Factors(stretch, None)
        found[f"{block.down}.weight"] = _factors(modules[block.down], moved, own.inputs[block.down][:, -1])
    return found


def _behind_norm(norm: Any, m: torch.Tensor, moved: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What to add to m, and to the norm's scale, so that the norm returns `moved` more; all (batch, width)."""
    scale = 1 + norm.weight  # as Gemma keeps it
    rms = (m.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
    wanted = m / rms + moved / scale
    r = wanted.pow(2).mean(-1, keepdim=True).sqrt()
    return rms * wanted / r - m, (r - 1) * scale


def _watched(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        yield block.name
        yield from block.first


def _factors(module: Any, left: torch.Tensor, read: torch.Tensor) -> Factors:
    return Factors(left, read / read.pow(2).sum(-1, keepdim=True), is_transposed(module))


def implicit_update(model: Any, context: torch.Tensor, query: torch.Tensor) -> dict[str, torch.Tensor]:
    """The update that replaces a context for one query token, by name of parameter, in the parameters' shapes.

    Args:
        model: a causal LM in evaluation mode; its weights are not changed.
        context: (n,) token ids or (n, width) embeddings.
        query: (1,) or (1, width).
    """
    both = torch.cat([context, query])[None]
    return {name: one.dense(0) for name, one in implicit_updates(Query(model, both, query[None])).items()}


@contextmanager
def patched(model: Any, update: Update) -> Iterator[Any]:
    """The model with an update added to its own parameters; afterwards they are what they were, to the bit."""
    parameters = dict(model.named_parameters())
    saved = {name: parameters[name].detach().clone() for name in update}
    try:
        with torch.no_grad():
            for name, change in update.items():
                parameters[name].add_(change)
        yield model
    finally:
        with torch.no_grad():
            for name, value in saved.items():
                parameters[name].copy_(value)
