"""Elastic weight consolidation on delta W = s B A, which is never materialised (theory notes E.1).

The Fisher of a module's weight is taken as S (x) R, S of its output gradients and R of its inputs, full (K-FAC) or
diagonal; the penalty s^2 <B^T S B, A R A^T> needs two rank x rank matrices. A sum over cycles is a list of such terms,
so it is exact. After merging, delta W starts again at zero: the anchor is what the adapter stands on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.collect import Part, inputs_seen, logits_at, outputs_kept, parts
from synde_pipeline.training.shards import ShardRow

ARTEFACT = "fisher"
_FILE = "fisher.safetensors"

Factor = Any
"""(n, n), or its diagonal (n,); None is the identity."""


def curvature(bank: AdapterBank, factors: Mapping[str, tuple[Factor, Factor]]) -> Any:
    """Sum over modules of s^2 <B^T S B, A R A^T>, with S of the output and R of the input: (adapters,).

    It is the quadratic form of S (x) R in delta W; with identities, |delta W|^2.
    """
    total = bank.table.new_zeros(bank.n_adapters)
    for name in bank.names:
        a, b = bank.matrices(bank.table, name)
        of_output, of_input = factors[name]
        columns, rows = b.transpose(-1, -2), a  # (adapters, rank, out) and (adapters, rank, in)
        total = total + (_gram(columns, of_output) * _gram(rows, of_input)).sum((-1, -2))
    return bank.scale**2 * total


def _gram(rows: Any, factor: Factor) -> Any:
    """Products of rows under a factor, rows factor rows^T: (adapters, rank, rank)."""
    if factor is None:
        return rows @ rows.transpose(-1, -2)
    factor = factor.to(rows)
    return (rows * factor if factor.dim() == 1 else rows @ factor) @ rows.transpose(-1, -2)


def l2_penalty(names: Iterable[str], strength: float) -> Callable[[AdapterBank], Any]:
    """strength/2 * |delta W|^2: all directions cost the same."""
    identities = dict.fromkeys(names, (None, None))
    return lambda bank: strength / 2 * curvature(bank, identities)


@dataclass(frozen=True)
class Fisher:
    """A sum of Kronecker products for each module, largest in what the read sequences depend on."""

    kind: Literal["kfac", "diagonal"]
    terms: tuple[dict[str, tuple[Any, Any]], ...]
    """One a cycle: module -> (S, R), float32, (out, out) and (in, in), or (out,) and (in,)."""

    def normalised(self) -> "Fisher":
        """Scaled so that the mean of its diagonal, over all weights of all modules, is 1: strengths mean the same."""
        total, n_weights = 0.0, 0
        for name, (out, into) in self.terms[0].items():
            n_weights += out.shape[0] * into.shape[0]
            total += sum(_trace(term[name][0]) * _trace(term[name][1]) for term in self.terms)
        return self.times(n_weights / total) if total > 0 else self

    def times(self, factor: float) -> "Fisher":
        """The Fisher times a number."""
        scaled = ({name: (out * factor, into) for name, (out, into) in term.items()} for term in self.terms)
        return Fisher(self.kind, tuple(scaled))

    def penalty(self, bank: AdapterBank) -> Any:
        """The quadratic form in each adapter's delta W, (adapters,)."""
        return sum((curvature(bank, term) for term in self.terms[1:]), curvature(bank, self.terms[0]))

    def write(self, folder: Path) -> None:
        """Write `fisher.safetensors`; equal ones give equal bytes."""
        from safetensors.torch import save_file

        tensors = {}
        for k, term in enumerate(self.terms):
            for name, (out, into) in term.items():
                tensors[f"{k}.out.{name}"], tensors[f"{k}.in.{name}"] = out.contiguous(), into.contiguous()
        save_file(tensors, folder / _FILE, metadata={"format": "pt"})

    @classmethod
    def read(cls, folder: Path) -> "Fisher":
        """Read what `write` wrote."""
        from safetensors.torch import load_file

        terms: dict[int, dict[str, dict[str, Any]]] = {}
        for label, tensor in load_file(folder / _FILE).items():
            k, side, name = label.split(".", 2)
            terms.setdefault(int(k), {}).setdefault(name, {})[side] = tensor
        found = tuple({name: (one["out"], one["in"]) for name, one in terms[k].items()} for k in sorted(terms))
        is_full = next(iter(found[0].values()))[0].dim() == 2
        return cls("kfac" if is_full else "diagonal", found)


def accumulated(old: Fisher, new: Fisher, gamma: float = 1.0) -> Fisher:
    """Online EWC: gamma * old + new."""
    return Fisher(new.kind, (*old.times(gamma).terms, *new.terms))


def ewc(fisher: Fisher, strength: float) -> Callable[[AdapterBank], Any]:
    """strength/2 times the Fisher's quadratic form in delta W, for each adapter."""
    return lambda bank: strength / 2 * fisher.penalty(bank)


def _trace(factor: Any) -> float:
    return float((factor if factor.dim() == 1 else factor.diagonal()).double().sum())


# -- measuring --------------------------------------------------------------------------------------------------------


def fisher_of(
    model: Any,
    rows: Sequence[ShardRow],
    kind: Literal["kfac", "diagonal"],
    *,
    pad_id: int,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Fisher:
    """Measure the Fisher of sequences under a model, normalised.

    Labels are drawn from the model at the positions of the rows' targets, so it is the true Fisher and not that of the
    logged tokens (Kunstner et al. 2019). Every position that a target depends on counts as an example of its own:
    products of gradients at two positions of a sequence are left out, which is the usual approximation.

    Args:
        model: what the next adapter will stand on.
        rows: training sequences of what is to be kept.
        kind: full factors, (out^2 + in^2) floats a module, or their diagonals.
        pad_id: any token id.
        seed: of the labels; those of a sequence do not depend on how sequences are batched.
        names: modules; None takes the MLP matrices.

    Raises:
        ValueError: no sequence has a target.
    """
    names = mlp_targets(model) if names is None else names
    out: dict[str, Any] = {}
    into: dict[str, Any] = {}
    n_tokens = 0
    for part in parts(rows, pad_id):
        if part.predicts.any():
            n_tokens += int(part.is_read.sum())
            _add(model, names, part, (out, into), seed=seed, is_full=kind == "kfac")
    if not n_tokens:
        raise ValueError("no sequence has a target to measure a Fisher at")
    return Fisher(kind, ({name: (out[name] / n_tokens, into[name] / n_tokens) for name in names},)).normalised()


def _add(
    model: Any,
    names: Sequence[str],
    part: Part,
    sums: tuple[dict[str, Any], dict[str, Any]],
    *,
    seed: int,
    is_full: bool,
) -> None:
    """Add one batch's sums of g g^T and x x^T."""
    import torch
    from torch.nn.functional import cross_entropy

    where = part.is_read.flatten()

    def add(total: dict[str, Any], name: str, values: Any) -> None:
        values = values[where].float()
        found = values.T @ values if is_full else values.square().sum(0)
        total[name] = total[name] + found if name in total else found

    with (
        torch.enable_grad(),
        outputs_kept(model, names) as outputs,
        inputs_seen(model, names, lambda name, x: add(sums[1], name, x)),
    ):
        logits = logits_at(model, part.ids, part.predicts)
        loss = cross_entropy(logits, _drawn(logits.detach(), part, seed), reduction="sum")
        gradients = torch.autograd.grad(loss, [outputs[name] for name in names])
    for name, gradient in zip(names, gradients, strict=True):
        add(sums[0], name, gradient.flatten(0, -2))


def _drawn(logits: Any, part: Part, seed: int) -> Any:
    """A label for each target, from the model's own distribution."""
    import torch

    chances = []
    for k, n in enumerate(part.predicts.sum(1).tolist()):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + part.start + k)
        chances.append(torch.rand(n, generator=generator, dtype=torch.float64))
    total = logits.double().softmax(-1).cumsum(-1)
    # The last sum may round below 1: scale instead of running over the end.
    return torch.searchsorted(total, (torch.cat(chances).to(total.device) * total[:, -1])[:, None]).squeeze(1)


# -- as an artefact ---------------------------------------------------------------------------------------------------


def publish(warehouse: Warehouse, key: str, fisher: Fisher, inputs: dict[str, str]) -> Header:
    """Keep a cycle's Fisher.

    Args:
        warehouse: where to.
        key: the cycle's.
        fisher: its own, or with those of earlier cycles.
        inputs: content hashes of the shard, of the model that read it, and of an earlier Fisher.
    """

    def describe(folder: Path) -> Header:
        counts = {"terms": len(fisher.terms), "modules": len(fisher.terms[0])}
        found = files_hash(folder, inputs)
        return Header(
            artefact=ARTEFACT, key=key, content_hash=found, inputs=inputs, counts=counts, info={"kind": fisher.kind}
        )

    return warehouse.publish_folder(ARTEFACT, key, fisher.write, describe)


def load(warehouse: Warehouse, key: str) -> Fisher:
    """A cycle's Fisher.

    Raises:
        LineageError: it has none.
    """
    return Fisher.read(warehouse.folder(ARTEFACT, key))
