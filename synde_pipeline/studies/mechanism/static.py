"""One patch of weights for all queries of a context: least squares over queries, layer by layer, of a given rank.

The update of in-context learning is another one for every query. What is asked of a static patch D is that it does for
many queries at once what theirs do: D z_q = W (z_C,q - z_q), in the mean square. Later layers are fitted on what the
already patched earlier ones give them.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import torch

from synde_pipeline.errors import InputError
from synde_pipeline.models.implicit import Block, Record, Update, blocks_of, patched
from synde_pipeline.training.bank import is_transposed
from synde_pipeline.training.lora import AdapterWeights

Target = Literal["first", "down", "mlp", "attention"]
TARGETS: tuple[Target, ...] = ("first", "down", "mlp", "attention")
"""The MLP's first matrices; its output matrix; both; the attention's output matrix."""
Fit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What a matrix reads (n, in) and what its output lacks (n, out) -> its patch (out, in)."""
RIDGE = 1e-3
"""Of the least squares, as a share of the mean square of what a matrix reads."""


def least_squares(rank: int | None, ridge: float = RIDGE) -> Fit:
    """The patch of at most this rank with the smallest squared error plus ridge; None for any rank.

    Reduced-rank regression: D_k = V_k V_k^T D, with D the full solution and V_k the first k principal directions of
    what it returns on the (ridge-extended) rows.
    """

    def fit(read: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        z, t = read.double(), wanted.double()
        gram = z.T @ z
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        patch = torch.linalg.solve(gram, z.T @ t).T
        if rank is not None and rank < min(patch.shape):
            _, directions = torch.linalg.eigh(patch @ gram @ patch.T)  # rising
            first = directions[:, -rank:]
            patch = first @ (first.T @ patch)
        return patch.to(read.dtype)

    return fit


def mean_of_updates(read: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean of the queries' own rank-1 updates: the naive aggregate, as a control."""
    return wanted.T @ (read / read.pow(2).sum(-1, keepdim=True)) / len(read)


def static_patch(model: Any, read: Callable[[], Record], taught: Record, target: Target, fit: Fit) -> Update:
    """Fit one patch for all rows.

    Args:
        model: a causal LM; its weights are as they were afterwards.
        read: runs the model without the context and returns what its modules read and returned, rows (n, width).
        taught: the same rows, with the context.
        target: which matrices are patched.
        fit: how; see `least_squares`.

    Raises:
        InputError: a norm follows the output matrix, or a block's attention and MLP run in parallel.
    """
    update: dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    with ExitStack() as stack, torch.no_grad():
        for block in blocks_of(model):
            for stage in _stages(block, target):
                own = read()
                new = {
                    f"{name}.weight": _shaped(modules[name], fit(own.inputs[name], lacks))
                    for name, lacks in stage(block, taught, own).items()
                }
                stack.enter_context(patched(model, new))
                update |= new
    return update


Stage = Callable[[Block, Record, Record], Mapping[str, torch.Tensor]]


def _stages(block: Block, target: Target) -> tuple[Stage, ...]:
    if block.post_norm is not None or block.is_parallel:
        raise InputError(
            f"{block.name} has no static patch here", expected="sequential residuals, no norm behind the MLP"
        )
    by_target: dict[Target, tuple[Stage, ...]] = {
        "first": (_first,),
        "down": (_down,),
        "mlp": (_first, _down),
        "attention": (_attention,),
    }
    return by_target[target]


def _first(block: Block, taught: Record, own: Record) -> Mapping[str, torch.Tensor]:
    return {name: taught.outputs[name] - own.outputs[name] for name in block.first}


def _down(block: Block, taught: Record, own: Record) -> Mapping[str, torch.Tensor]:
    return {block.down: taught.outputs[block.name] - own.outputs[block.name]}


def _attention(block: Block, taught: Record, own: Record) -> Mapping[str, torch.Tensor]:
    return {block.attention: taught.inputs[block.norm] - own.inputs[block.norm]}


def _shaped(module: Any, patch: torch.Tensor) -> torch.Tensor:
    return patch.T if is_transposed(module) else patch


def update_of(adapter: AdapterWeights) -> Update:
    """A LoRA adapter's delta W = scale * B A."""
    dense = {f"{name}.weight": adapter.scale * b @ a for name, (a, b) in adapter.matrices.items()}
    return {name: value.T if adapter.transposed else value for name, value in dense.items()}


def summed(one: Update, other: Update) -> Update:
    """Two updates added; what only one of them changes stays as it is there."""
    return {name: sum(part[name] for part in (one, other) if name in part) for name in {**one, **other}}  # type: ignore[misc]


def distance(one: Update, other: Update) -> dict[str, float]:
    """How far two updates lie apart, over all matrices together.

    Returns:
        `frobenius`: |one - other|; `relative`: that over |other|; `cosine`; `norm` and `other_norm`: of each.
    """
    names = sorted({*one, *other})
    zero = torch.zeros(())
    a = torch.cat([one.get(name, zero.expand_as(other.get(name, zero))).double().flatten() for name in names])
    b = torch.cat([other.get(name, zero.expand_as(one.get(name, zero))).double().flatten() for name in names])
    norms = a.norm(), b.norm()
    cosine = float(a @ b / (norms[0] * norms[1])) if min(norms) > 0 else 0.0
    apart = float((a - b).norm())
    return {
        "frobenius": apart,
        "relative": apart / max(float(norms[1]), 1e-30),
        "cosine": cosine,
        "norm": float(norms[0]),
        "other_norm": float(norms[1]),
    }
