"""How much two adapters share: angles of what they read and write, and whether their effects add."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

from synde_pipeline.base_model import Base
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights

N_PROMPTS = 32


class Overlap(NamedTuple):
    """Two adapters beside each other, over all their matrices."""

    kind: str
    """`domains`: of two domains; `seeds`: of one domain, with another initialisation."""
    first: str
    second: str
    a: float
    """Mean over matrices of the mean cosine of the principal angles between the row spaces of A (inputs)."""
    a_random: float
    """The same of random subspaces of equal dimension, in expectation."""
    b: float
    """The same of the column spaces of B (outputs)."""
    b_random: float


def cosines(first: Any, second: Any) -> np.ndarray:
    """Cosines of the principal angles between two row spaces, (rank,): singular values of Q1 Q2^T (Björck, Golub).

    Args:
        first: (rank, dim).
        second: (rank, dim).
    """
    bases = [np.linalg.qr(np.asarray(matrix, np.float64).T)[0] for matrix in (first, second)]
    return np.clip(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False), 0.0, 1.0)


def random_cosine(dim: int, rank: int = 1, n: int = 400) -> float:
    """Mean cosine of the principal angles between random subspaces, by drawing; about sqrt(2 / (pi dim)) at rank 1."""
    rng = np.random.default_rng(dim * 1000 + rank)
    found = [cosines(rng.standard_normal((rank, dim)), rng.standard_normal((rank, dim))).mean() for _ in range(n)]
    return float(np.mean(found))


def overlap(names: tuple[str, str, str], first: AdapterWeights, second: AdapterWeights) -> Overlap:
    """The angles between two adapters."""
    read, written, by_chance = [], [], {}
    for name, (a, b) in first.matrices.items():
        other_a, other_b = second.matrices[name]
        read.append(cosines(a, other_a).mean())
        written.append(cosines(b.T, other_b.T).mean())
        for dim in (a.shape[1], b.shape[0]):
            by_chance.setdefault(dim, random_cosine(dim, a.shape[0]))
    sizes = [(a.shape[1], b.shape[0]) for a, b in first.matrices.values()]
    expected = [float(np.mean([by_chance[size[k]] for size in sizes])) for k in (0, 1)]
    return Overlap(*names, float(np.mean(read)), expected[0], float(np.mean(written)), expected[1])


def overlaps(domains: Sequence[str], adapters: Sequence[AdapterWeights], again: Sequence[AdapterWeights]) -> Any:
    """Every pair of domains, and each domain with itself, in both cases from different initialisations.

    From one and the same, two adapters read alike whatever they learned: A moves little.
    """
    pairs = combinations_with_replacement(range(len(domains)), 2)
    return [
        overlap(("seeds" if k == j else "domains", domains[k], domains[j]), adapters[k], again[j]) for k, j in pairs
    ]


def additivity(base: Base, adapters: Sequence[AdapterWeights], tasks: Sequence[Task], encoder: PromptEncoder) -> Any:
    """Whether the changes that adapters make to next-token logits add up, on the tasks' prompts.

    Returns:
        relative_error: norm of (change by all - sum of changes) over the norm of the sum of changes; change: mean norm
        of a single adapter's change; n: prompts.
    """
    import torch

    prompts = [encoder.prompt(task.place.world.domain, task.text, ()).ids for task in tasks[:N_PROMPTS]]

    def logits(model: Any) -> Any:
        with torch.inference_mode():
            return torch.stack([model(torch.tensor([ids])).logits[0, -1].double() for ids in prompts])

    plain = logits(base.model)
    changes = []
    bank = AdapterBank.of(base.model, adapters)
    for index in range(len(adapters)):
        with bank.routed([index]):
            changes.append(logits(base.model) - plain)
    bank.remove()
    handles = AdapterBank.of(base.model, [stacked(adapters)])
    with handles.routed([0]):
        together = logits(base.model) - plain
    handles.remove()
    summed = sum(changes)
    error = torch.linalg.vector_norm(together - summed) / torch.linalg.vector_norm(summed)
    sizes = [float(torch.linalg.vector_norm(change)) / len(prompts) ** 0.5 for change in changes]
    return {"relative_error": float(error), "change": float(np.mean(sizes)), "n": len(prompts)}


def stacked(adapters: Sequence[AdapterWeights]) -> AdapterWeights:
    """One adapter of the ranks' sum that does what all do together: A's above each other, B's side by side."""
    import torch

    first = adapters[0]
    matrices = {
        name: (
            torch.cat([one.matrices[name][0] for one in adapters]),
            torch.cat([one.matrices[name][1] * (one.scale / first.scale) for one in adapters], dim=1),
        )
        for name in first.matrices
    }
    return AdapterWeights(first.scale, matrices, first.transposed)


def weights_error(model: Any, adapters: Sequence[AdapterWeights]) -> float:
    """Largest relative error, over matrices, of adapters added in float32 against the sum in float64.

    The model's weights are changed.
    """
    import torch

    modules = dict(model.named_modules())
    wanted = {}
    for name in adapters[0].matrices:
        parts = [one.scale * (one.matrices[name][1].double() @ one.matrices[name][0].double()) for one in adapters]
        delta = torch.stack(parts).sum(0)
        weight = modules[name].weight.detach().double()
        wanted[name] = weight + (delta.T if adapters[0].transposed else delta)
    add_adapters(model, [(one, 1.0) for one in adapters])
    return max(
        float(torch.linalg.norm(modules[name].weight.double() - value) / torch.linalg.norm(value))
        for name, value in wanted.items()
    )
