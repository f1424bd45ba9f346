"""Frozen linear modules with K adapters while they are trained: forward and backward by consecutive tokens.

    y = x W_k^T + bias,  W_k = W + scale * B_k A_k      folded once an optimiser step: float32 without dropout
    y = x W^T + bias + scale * (drop(x) A_k^T) B_k^T    otherwise: in 16 bits a small product would be rounded away

Adapters at inference are in `bank`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.bank import AdapterBank, is_transposed
from synde_pipeline.training.packing import Piece, by_adapter


@dataclass
class Route:
    """Whose tokens a forward pass holds; shared by all modules of a model."""

    pieces: Sequence[Piece] = ()
    target_pieces: Sequence[Piece] = ()
    step: int = 0
    is_on: bool = False
    """Off, the modules are the plain base."""


class LoraLinear:
    """One frozen module and the adapters' factors for it: leaves of autograd that share the bank's memory."""

    def __init__(self, bank: AdapterBank, name: str, module: Any, route: Route, config: TrainingConfig) -> None:
        self.name, self.module, self.route, self.scale = name, module, route, bank.scale
        self.dropout, self.seed = config.dropout, config.seed
        self.plain = module.forward
        self.on_targets = False
        """Whether it sees the positions that predict targets alone."""
        self.factors: list[Any] = []  # A_0, B_0, A_1, B_1, ...
        for row, gradients in zip(bank.table.detach(), bank.table.grad, strict=True):  # type: ignore[arg-type]
            for factor, gradient in zip(bank.matrices(row, name), bank.matrices(gradients, name), strict=True):
                leaf = factor.detach().requires_grad_(True)
                leaf.grad = gradient  # backward adds into it in place: it is the table's own gradient
                self.factors.append(leaf)
        can_fold = not config.dropout and module.weight.dtype == torch.float32
        self.folded = [torch.empty_like(module.weight) for _ in range(bank.n_adapters)] if can_fold else None

    @torch.no_grad()
    def fold(self) -> None:
        """Take the factors as they are now into the folded weights."""
        for k, weight in enumerate(self.folded or ()):
            a, b = self.pair(k)
            left, right = (a.T, b.T) if is_transposed(self.module) else (b, a)
            torch.addmm(self.module.weight, left, right, alpha=self.scale, out=weight)

    def pair(self, adapter: int) -> tuple[Any, Any]:
        """A (rank, in) and B (out, rank) of an adapter."""
        return self.factors[2 * adapter], self.factors[2 * adapter + 1]

    def forward(self, x: Any) -> Any:
        """The module's output for x (..., in)."""
        if not self.route.is_on:
            return self.plain(x)
        pieces = self.route.target_pieces if self.on_targets else self.route.pieces
        flat = x.reshape(-1, x.shape[-1])
        if len(flat) != pieces[-1].stop:
            raise ValueError(f"{self.name} got {len(flat)} tokens where {pieces[-1].stop} were laid out")
        if self.folded is None:
            y = self._added(flat, pieces)
        else:
            y = _Folded.apply(flat, self, by_adapter(pieces), *self.factors)
        return y.view(*x.shape[:-1], y.shape[-1])

    def _added(self, x: Any, pieces: Sequence[Piece]) -> Any:
        """The low-rank term beside the module's own output."""
        terms = []
        for piece in pieces if self.dropout else by_adapter(pieces):
            a, b = self.pair(piece.adapter)
            own = self._dropped(x[piece.start : piece.stop].float(), piece.place)
            terms.append((own @ a.T) @ b.T)
        y = self.plain(x)
        return y + (torch.cat(terms) * self.scale).to(y.dtype)

    def _dropped(self, x: Any, place: int) -> Any:
        """Inputs with dropout; the draw follows from step, module and place in the batch, and needs no state.

        So an adapter meets the same draws alone and in company, in any micro-batch, recomputed, and after a restart.
        """
        if not self.dropout:
            return x
        key = f"{self.seed}:{self.route.step}:{self.name}:{place}"
        seed = int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest()[:7], "big")
        kept = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) >= self.dropout
        return x * kept.to(x.device) / (1 - self.dropout)


class _Folded(torch.autograd.Function):
    """x W_k^T + bias for tokens that lie together by adapter; the frozen weight gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, layer: LoraLinear, pieces: Sequence[Piece], *factors: Any) -> Any:
        ctx.save_for_backward(x, *factors)
        ctx.layer, ctx.pieces = layer, pieces
        transposed = is_transposed(layer.module)
        bias = getattr(layer.module, "bias", None)
        weights = layer.folded or ()
        y = x.new_empty(len(x), layer.module.weight.shape[1 if transposed else 0])
        for piece in pieces:
            weight = weights[piece.adapter] if transposed else weights[piece.adapter].T
            own, out = x[piece.start : piece.stop], y[piece.start : piece.stop]
            if bias is None:
                torch.mm(own, weight, out=out)
            else:
                torch.addmm(bias, own, weight, out=out)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Any) -> tuple[Any, ...]:  # type: ignore[override]
        x, *factors = ctx.saved_tensors
        layer, transposed = ctx.layer, is_transposed(ctx.layer.module)
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gradients: list[Any] = [None] * len(factors)
        for piece in ctx.pieces:
            k, rows = piece.adapter, slice(piece.start, piece.stop)
            a, b = factors[2 * k], factors[2 * k + 1]
            gradients[2 * k] = ((dy[rows] @ b).T @ x[rows]).mul_(layer.scale)
            gradients[2 * k + 1] = (dy[rows].T @ (x[rows] @ a.T)).mul_(layer.scale)
            if dx is not None:
                weight = layer.folded[k].T if transposed else layer.folded[k]
                torch.mm(dy[rows], weight, out=dx[rows])
        return (dx, None, None, *gradients)


@contextmanager
def replaced(forwards: Mapping[Any, Any]) -> Iterator[None]:
    """Let modules compute by other functions inside."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward
