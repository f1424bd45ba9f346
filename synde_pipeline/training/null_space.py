"""Where old inputs leave room: second moments of what modules read, and adapters that stay blind to it.

An adapter changes a module's output by s B A x. With A's rows in the complement of the space in which the inputs x of
earlier cycles lie, nothing changes for them, and no old log has to be kept: only E[x x^T] of each module, measured
under the weights merged so far. Across domains that works; places of one domain share all directions (simulation
notes 11 A). The penalty on the leak, E |dW x|^2, is the soft form.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.collect import inputs_seen, logits_at, parts
from synde_pipeline.training.regularize import curvature
from synde_pipeline.training.shards import ShardRow

ARTEFACT = "input_moments"
ENERGY = 0.99
"""Share of the inputs' energy that the protected directions hold."""
_FILE = "moments.safetensors"
_COUNT = "n_tokens"


@dataclass(frozen=True)
class Moments:
    """Sums of x x^T over the agent's positions, for each adapted module. Sums of two cycles are the cycles' sum."""

    sums: dict[str, Any]
    """Module -> (in, in), float32."""
    n_tokens: int

    def write(self, folder: Path) -> None:
        """Write `moments.safetensors`; equal moments give equal bytes."""
        import torch
        from safetensors.torch import save_file

        save_file({**self.sums, _COUNT: torch.tensor(self.n_tokens)}, folder / _FILE, metadata={"format": "pt"})

    @classmethod
    def read(cls, folder: Path) -> "Moments":
        """Read what `write` wrote."""
        from safetensors.torch import load_file

        tensors = load_file(folder / _FILE)
        return cls({name: t for name, t in tensors.items() if name != _COUNT}, int(tensors[_COUNT]))


def moments_of(model: Any, rows: Sequence[ShardRow], *, pad_id: int, names: Sequence[str] | None = None) -> Moments:
    """Read sequences with a model and sum up what its modules saw where a target is predicted.

    Args:
        model: the base with everything merged that the next adapter will stand on.
        rows: training sequences; their weights say where the agent's tokens are.
        pad_id: any token id.
        names: modules; None takes the MLP matrices.

    Raises:
        ValueError: no sequence has a target.
    """
    import torch

    names = mlp_targets(model) if names is None else names
    sums: dict[str, Any] = {}
    n_tokens = 0
    for part in parts(rows, pad_id):
        where = part.predicts.flatten()
        n_tokens += int(where.sum())

        def see(name: str, x: Any, where: Any = where) -> None:
            seen = x[where].float()
            sums[name] = sums[name] + seen.T @ seen if name in sums else seen.T @ seen

        with torch.inference_mode(), inputs_seen(model, names, see):
            logits_at(model, part.ids, part.predicts)
    if not n_tokens:
        raise ValueError("no sequence has a target to protect")
    return Moments({name: total.clone() for name, total in sums.items()}, n_tokens)


def merge(moments: Iterable[Moments]) -> Moments:
    """The moments of several cycles together.

    Raises:
        ValueError: there is none.
        LineageError: they are of different modules.
    """
    each = list(moments)
    if not each:
        raise ValueError("there are no moments to merge")
    for one in each[1:]:
        if one.sums.keys() != each[0].sums.keys():
            raise LineageError(
                f"moments of {len(one.sums)} modules",
                expected=f"those of the same {len(each[0].sums)}",
                remedy="measure them with one setting of o_proj",
            )
    return Moments(
        {name: sum((one.sums[name] for one in each[1:]), each[0].sums[name]) for name in each[0].sums},
        sum(one.n_tokens for one in each),
    )


# -- hard: A's rows in the complement ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Projection:
    """The protected directions of each module."""

    directions: dict[str, Any]
    """Module -> (in, protected), orthonormal columns, float32."""

    @classmethod
    def of(cls, moments: Moments, energy: float = ENERGY) -> "Projection":
        """Protect the fewest directions that hold `energy` of each module's inputs."""
        import torch

        found = {}
        for name, total in moments.sums.items():
            values, vectors = torch.linalg.eigh(total.double())  # rising
            values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
            share = values.cumsum(0) / values.sum().clamp(min=torch.finfo(torch.float64).tiny)
            n_protected = int((share < energy).sum()) + 1 if values.sum() > 0 else 0
            found[name] = vectors[:, :n_protected].float().contiguous()
        return cls(found)

    @property
    def room(self) -> dict[str, tuple[int, int]]:
        """Module -> (dimensions left, all dimensions) of its input."""
        return {name: (u.shape[0] - u.shape[1], u.shape[0]) for name, u in self.directions.items()}

    def after_step(self, bank: AdapterBank) -> None:
        """Take the protected directions out of A; call it on a fresh bank too, and after every optimiser step."""
        import torch

        with torch.no_grad():
            for name in bank.names:
                a, _ = bank.matrices(bank.table, name)  # (adapters, rank, in)
                u = self.directions[name].to(a)
                a -= (a @ u) @ u.T


# -- soft: a price on the leak ----------------------------------------------------------------------------------------


def leak_penalty(moments: Moments, strength: float) -> Callable[[AdapterBank], Any]:
    """strength/2 * s^2 <B^T B, A C A^T> = strength/2 * E |dW x|^2 over protected inputs, summed over modules."""
    second = {name: (None, total / max(moments.n_tokens, 1)) for name, total in moments.sums.items()}
    return lambda bank: strength / 2 * curvature(bank, second)


# -- as an artefact ---------------------------------------------------------------------------------------------------


def publish(warehouse: Warehouse, key: str, moments: Moments, inputs: dict[str, str]) -> Header:
    """Keep a cycle's own moments; those of a ledger are the `merge` of its cycles'.

    Args:
        warehouse: where to.
        key: the cycle's.
        moments: of the cycle's new sequences.
        inputs: content hashes of the shard and of the model that read it.
    """

    def describe(folder: Path) -> Header:
        counts = {"tokens": moments.n_tokens, "modules": len(moments.sums)}
        return Header(artefact=ARTEFACT, key=key, content_hash=files_hash(folder, inputs), inputs=inputs, counts=counts)

    return warehouse.publish_folder(ARTEFACT, key, moments.write, describe)


def load(warehouse: Warehouse, keys: Iterable[str]) -> Moments:
    """The moments of some cycles together.

    Raises:
        LineageError: a cycle has none.
        ValueError: no cycle was named.
    """
    return merge(Moments.read(warehouse.folder(ARTEFACT, key)) for key in keys)
