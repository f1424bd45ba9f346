"""A bank of adapters: K LoRA adapters side by side on one model, of which every row of a batch uses its own, or none.

    y = x W^T + scale * (x A_k^T) B_k^T,    k = the row's adapter, -1 = none

Training a bank is in `train_bank`, files are in `lora`, which adapter a task gets is decided in `models.route`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import InputError, LineageError
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

    def __init__(self, model: Any, n_adapters: int, *, rank: int, scale: float) -> None:
        import torch

        self.rank = rank
        self.scale = scale
        modules = dict(model.named_modules())
        self._slots: dict[str, _Slot] = {}
        start = 0
        for name in mlp_targets(model):
            n_in, n_out = _sizes(modules[name])
            self._slots[name] = _Slot(n_in, n_out, start)
            start += rank * (n_in + n_out)
        self.transposed = any(_is_transposed(modules[name]) for name in self._slots)
        """Whether the model keeps its weights as (in, out)."""
        self.table = torch.nn.Parameter(torch.zeros(n_adapters, start))
        """(adapters, floats of one adapter), float32."""
        self._rows: Any = None  # (batch, floats) of the adapters in use; None while no row uses any
        self._handles = [modules[name].register_forward_hook(self._hook(slot)) for name, slot in self._slots.items()]

    @classmethod
    def fresh(cls, model: Any, n_adapters: int, config: TrainingConfig) -> "AdapterBank":
        """Untrained adapters: A as PEFT draws it (Kaiming uniform), B zero. All start equal, as each would alone.

        Raises:
            InputError: the config asks for dropout.
        """
        import torch

        if config.dropout:
            raise InputError(
                f"dropout {config.dropout:g} in a bank of adapters",
                expected="0: one stream of random numbers would tie adapters together that must not meet",
                remedy="set dropout to 0, or composition to sequential",
            )
        bank = cls(model, n_adapters, rank=config.rank, scale=config.alpha / config.rank)
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
        bank = cls(model, len(adapters), rank=max(ranks, default=1), scale=adapters[0].scale if adapters else 1.0)
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
        """Put an adapter's matrices into the bank; a lower rank is filled up with zeros, another scale goes into B.

        Raises:
            LineageError: it names other modules than the bank's, or has other shapes.
        """
        import torch

        if set(adapter.matrices) != set(self._slots):
            odd = sorted(set(adapter.matrices) ^ set(self._slots))
            raise LineageError(
                f"the adapter and the model differ in {odd[0]} and {len(odd) - 1} more modules",
                expected=f"matrices for the model's {len(self._slots)} MLP modules",
                remedy="use the adapter's own base",
            )
        with torch.no_grad():
            for name, (a, b) in adapter.matrices.items():
                mine_a, mine_b = self._matrices(self.table[index], self._slots[name])
                rank = a.shape[0]
                if rank > self.rank or a.shape[1:] != mine_a.shape[1:] or b.shape != (mine_b.shape[0], rank):
                    raise LineageError(
                        f"adapter shapes {tuple(a.shape)} and {tuple(b.shape)}",
                        expected=f"{tuple(mine_a.shape)} and {tuple(mine_b.shape)} of {name}",
                    )
                mine_a.zero_()[:rank] = a
                mine_b.zero_()[:, :rank] = b * (adapter.scale / self.scale)

    def weights(self, index: int) -> AdapterWeights:
        """One adapter's matrices, copied."""
        row = self.table[index].detach().clone()
        return AdapterWeights(self.scale, {name: self._matrices(row, slot) for name, slot in self._slots.items()})

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

    def _matrices(self, rows: Any, slot: _Slot) -> tuple[Any, Any]:
        """A (..., rank, in) and B (..., out, rank), views of rows (..., floats)."""
        middle = slot.start + self.rank * slot.n_in
        a = rows[..., slot.start : middle].unflatten(-1, (self.rank, slot.n_in))
        b = rows[..., middle : middle + self.rank * slot.n_out].unflatten(-1, (slot.n_out, self.rank))
        return a, b

    def _hook(self, slot: _Slot) -> Any:
        def add(_: Any, args: tuple[Any, ...], output: Any) -> Any:
            if self._rows is None:
                return None
            import torch

            a, b = self._matrices(self._rows, slot)
            x = args[0]
            n_batch = x.shape[0] if len(a) == 1 else len(a)
            # Some families flatten (batch, tokens) on the way into the MLP.
            if x.dim() == 3 and x.shape[0] != n_batch:
                raise ValueError(f"a batch of {x.shape[0]} rows met adapters for {n_batch}")
            x = x.reshape(n_batch, -1, slot.n_in)
            low = torch.bmm(x, a.expand(n_batch, -1, -1).transpose(1, 2))  # (batch, tokens, rank)
            flat = output.reshape(n_batch, -1, slot.n_out)
            return torch.baddbmm(flat, low, b.expand(n_batch, -1, -1).transpose(1, 2), alpha=self.scale).view_as(output)

        return add


def _is_transposed(module: Any) -> bool:
    return type(module).__name__ == "Conv1D"


def _sizes(module: Any) -> tuple[int, int]:
    """(in, out) of a linear module."""
    rows, columns = module.weight.shape
    return (rows, columns) if _is_transposed(module) else (columns, rows)
