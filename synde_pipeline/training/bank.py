"""A bank of adapters: K LoRA adapters side by side on one model, of which every row of a batch uses its own, or none.

    y = x W^T + scale * (x A_k^T) B_k^T,    k = the row's adapter, -1 = none

Training one is in `train`, files are in `lora`, which adapter a task gets is decided in `models.route`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synde_pipeline.base_model import lora_targets, mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.lora import AdapterWeights

NONE = -1
"""Index of a row that uses no adapter."""


@dataclass(frozen=True)
class _Slot:
    """Where one module's matrices lie in an adapter's flat row."""

    n_in: int
    n_out: int
    start: int
    """First float of A (rank, in); B (out, rank) lies behind it."""


class AdapterBank:
    """K adapters of one rank on the MLP matrices of a causal LM, by forward hooks; the model's weights never change.

    All floats of an adapter are one row of `table`: one gather serves all modules of a forward pass, and what belongs
    to different adapters never meets. Outside `routed` the model is the plain base.
    """

    def __init__(self, model: Any, n_adapters: int, *, rank: int, scale: float, o_proj: bool = False) -> None:
        import torch

        self.rank = rank
        self.scale = scale
        modules = dict(model.named_modules())
        self._slots: dict[str, _Slot] = {}
        start = 0
        for name in lora_targets(model, o_proj=o_proj):
            n_in, n_out = _sizes(modules[name])
            self._slots[name] = _Slot(n_in, n_out, start)
            start += rank * (n_in + n_out)
        self.transposed = any(is_transposed(modules[name]) for name in self._slots)
        """Whether the model keeps its weights as (in, out)."""
        self.table = torch.nn.Parameter(torch.zeros(n_adapters, start, device=model.device))
        """(adapters, floats of one adapter), float32."""
        self._mlp = set(mlp_targets(model))
        self._rows: Any = None  # (batch, floats) of the adapters in use; None while no row uses any
        self._handles = [modules[name].register_forward_hook(self._hook(name)) for name in self._slots]

    @classmethod
    def fresh(cls, model: Any, n_adapters: int, config: TrainingConfig) -> "AdapterBank":
        """Untrained adapters: A as PEFT draws it (Kaiming uniform), B zero. All start equal, as each would alone."""
        import torch

        bank = cls(model, n_adapters, rank=config.rank, scale=config.alpha / config.rank, o_proj=config.o_proj)
        generator = torch.Generator().manual_seed(config.seed)
        with torch.no_grad():
            for slot in bank._slots.values():
                a = torch.empty(config.rank, slot.n_in)
                torch.nn.init.kaiming_uniform_(a, a=5**0.5, generator=generator)
                bank.table[:, slot.start : slot.start + a.numel()] = a.flatten()
        return bank

    @classmethod
    def of(cls, model: Any, adapters: Sequence[AdapterWeights]) -> "AdapterBank":
        """Trained adapters, in the order given, for inference.

        Raises:
            LineageError: one of them does not fit the model.
        """
        ranks = [a.shape[0] for adapter in adapters for a, _ in adapter.matrices.values()]
        mlp = set(mlp_targets(model))
        o_proj = any(set(adapter.matrices) > mlp for adapter in adapters)
        scale = adapters[0].scale if adapters else 1.0
        bank = cls(model, len(adapters), rank=max(ranks, default=1), scale=scale, o_proj=o_proj)
        bank.table.requires_grad_(False)
        try:
            for index, adapter in enumerate(adapters):
                bank.load(index, adapter)
        except LineageError:
            bank.remove()
            raise
        return bank

    @property
    def n_adapters(self) -> int:
        """How many adapters lie side by side."""
        return self.table.shape[0]

    def parameters(self) -> list[Any]:
        """What an optimiser may change."""
        return [self.table]

    def load(self, index: int, adapter: AdapterWeights) -> None:
        """Put an adapter's matrices into the bank; what it lacks is filled up with zeros, another scale goes into B.

        It may lack rank, and the attention's output matrices.

        Raises:
            LineageError: it names other modules than the bank's, or has other shapes.
        """
        import torch

        odd = sorted(set(adapter.matrices) ^ set(self._slots))
        if set(adapter.matrices) not in (set(self._slots), self._mlp):
            raise LineageError(
                f"the adapter and the model differ in {odd[0]} and {len(odd) - 1} more modules",
                expected=f"matrices for the model's {len(self._mlp)} MLP modules",
                remedy="use the adapter's own base",
            )
        with torch.no_grad():
            self.table[index] = 0
            for name, (a, b) in adapter.matrices.items():
                mine_a, mine_b = self.matrices(self.table[index], name)
                rank = a.shape[0]
                if rank > self.rank or a.shape[1:] != mine_a.shape[1:] or b.shape != (mine_b.shape[0], rank):
                    raise LineageError(
                        f"adapter shapes {tuple(a.shape)} and {tuple(b.shape)}",
                        expected=f"{tuple(mine_a.shape)} and {tuple(mine_b.shape)} of {name}",
                    )
                mine_a[:rank] = a
                mine_b[:, :rank] = b * (adapter.scale / self.scale)

    def weights(self, index: int) -> AdapterWeights:
        """One adapter's matrices, copied."""
        row = self.table[index].detach().clone()
        return AdapterWeights(self.scale, {name: self.matrices(row, name) for name in self._slots})

    @contextmanager
    def routed(self, indices: Any) -> Iterator[None]:
        """Let model calls inside use these adapters.

        Args:
            indices: (batch,), int64, -1 = none; a single one stands for every row.

        Raises:
            IndexError: there is no such adapter.
        """
        before = self._rows
        self._rows = self._gather(indices)
        try:
            yield
        finally:
            self._rows = before

    def remove(self) -> None:
        """Take the hooks off: the model is the untouched base again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _gather(self, indices: Any) -> Any:
        import torch

        indices = torch.as_tensor(indices)
        if not len(indices) or int(indices.max()) < 0:
            return None
        rows = self.table.index_select(0, indices.clamp(min=0))
        if int(indices.min()) < 0:
            rows = rows * (indices >= 0)[:, None]  # zero matrices: the base's own output, to the bit
        return rows

    @property
    def names(self) -> list[str]:
        """The modules that have adapters, in the model's order."""
        return list(self._slots)

    def matrices(self, rows: Any, name: str) -> tuple[Any, Any]:
        """A module's A (..., rank, in) and B (..., out, rank): views of rows (..., floats) of the table."""
        slot = self._slots[name]
        middle = slot.start + self.rank * slot.n_in
        a = rows[..., slot.start : middle].unflatten(-1, (self.rank, slot.n_in))
        b = rows[..., middle : middle + self.rank * slot.n_out].unflatten(-1, (slot.n_out, self.rank))
        return a, b

    def _hook(self, name: str) -> Any:
        slot = self._slots[name]

        def add(_: Any, args: tuple[Any, ...], output: Any) -> Any:
            if self._rows is None:
                return None
            import torch

            a, b = self.matrices(self._rows, name)
            x = args[0]
            n_batch = x.shape[0] if len(a) == 1 else len(a)
            # Some families flatten (batch, tokens) on the way into the MLP.
            if x.dim() == 3 and x.shape[0] != n_batch:
                raise ValueError(f"a batch of {x.shape[0]} rows met adapters for {n_batch}")
            x = x.reshape(n_batch, -1, slot.n_in)
            low = torch.bmm(x.to(a.dtype), a.expand(n_batch, -1, -1).transpose(1, 2))  # (batch, tokens, rank)
            flat = output.reshape(n_batch, -1, slot.n_out).to(a.dtype)
            return (
                torch.baddbmm(flat, low, b.expand(n_batch, -1, -1).transpose(1, 2), alpha=self.scale)
                .to(output.dtype)
                .view_as(output)
            )

        return add


def is_transposed(module: Any) -> bool:
    """Whether a module keeps its weights as (in, out)."""
    return type(module).__name__ == "Conv1D"


def _sizes(module: Any) -> tuple[int, int]:
    """(in, out) of a linear module."""
    if hasattr(module, "in_features"):  # a quantised weight's own shape says nothing
        return module.in_features, module.out_features
    return tuple(module.weight.shape) if is_transposed(module) else tuple(module.weight.shape[::-1])
