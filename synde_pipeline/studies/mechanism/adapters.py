"""Rank-1 adapters of many tasks trained side by side on one small model, each on its own task, from several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from synde_pipeline.models.implicit import Update
from synde_pipeline.studies.mechanism.static import Target, update_of
from synde_pipeline.studies.mechanism.tasks import Family, InContextModel, Tasks
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights

N_DISTILLED = 32
"""Unlabelled queries on which a distilled adapter matches the model with its context."""


@dataclass(frozen=True)
class Recipe:
    """How adapters are trained."""

    name: str
    learns: Literal["examples", "context"]
    """The examples of the context, or the answers that the model gives with the context in view (distillation)."""
    rate: float
    n_steps: int
    scale: float
    """alpha / r."""


def recipes(n_steps: int) -> tuple[Recipe, ...]:
    """To convergence, from the context's answers, and section 6.4 to the letter: ten examples are one batch of 32."""
    return (
        Recipe("trained on the examples", "examples", 1e-2, n_steps, 1.0),
        Recipe("distilled from the context", "context", 1e-2, n_steps, 1.0),
        Recipe("section 6.4: 1 epoch, 1e-4", "examples", 1e-4, 1, 16.0),
    )


def train_adapters(
    model: InContextModel, tasks: Tasks, recipe: Recipe, target: Target, seeds: Sequence[int]
) -> list[list[Update]]:
    """For each seed, one rank-1 adapter a task on the target's matrices.

    All of them are trained in one pass: a task is a row of the batch, its queries are tokens that see only themselves.
    """
    x, y = (tasks.shown, tasks.answers) if recipe.learns == "examples" else _taught(model, tasks)
    n_tasks, n = x.shape[:2]
    bank = AdapterBank(model.lm, len(seeds) * n_tasks, rank=1, scale=recipe.scale, o_proj=True)
    try:
        _draw(bank, target, seeds, n_tasks)
        tokens = model.queries(x).repeat(len(seeds), 1, 1)
        wanted = y.repeat(len(seeds), 1, 1)
        mask = torch.zeros(n, n).masked_fill(~torch.eye(n).bool(), torch.finfo(torch.float32).min)[None, None]
        places = torch.full((1, n), tasks.shown.shape[1])
        optimiser = torch.optim.Adam([bank.table], lr=recipe.rate)
        rows = torch.arange(len(seeds) * n_tasks)
        for _ in range(recipe.n_steps):
            with bank.routed(rows):
                logits = model.lm(inputs_embeds=tokens, attention_mask=mask, position_ids=places).logits
            loss = _losses(model.family, logits[..., : model.family.n_out], wanted, recipe).mean(1).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        found = [update_of(_only(bank.weights(k), target)) for k in range(len(rows))]
    finally:
        bank.remove()
    return [found[k * n_tasks : (k + 1) * n_tasks] for k in range(len(seeds))]


@torch.no_grad()
def _taught(model: InContextModel, tasks: Tasks) -> tuple[torch.Tensor, torch.Tensor]:
    """Unlabelled queries, and the answers or probabilities that the context gives them."""
    asked = Tasks(tasks.shown, tasks.answers, tasks.asked[:, :N_DISTILLED], tasks.targets[:, :N_DISTILLED])
    found = model.answer(model.contexts(asked)).view(*asked.asked.shape[:2], -1)
    return asked.asked, found if model.family.n_out == 1 else found.softmax(-1)


def _losses(family: Family, logits: torch.Tensor, wanted: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """(adapters, queries): what training lowers; distilled labels are probabilities."""
    if family.n_out > 1 and recipe.learns == "context":
        return -(wanted * logits.log_softmax(-1)).sum(-1)
    return family.losses(logits, wanted)


def _draw(bank: AdapterBank, target: Target, seeds: Sequence[int], n_tasks: int) -> None:
    """A as PEFT draws it, B zero; where A and B are both zero, no gradient ever moves them."""
    for k, seed in enumerate(seeds):
        for task in range(n_tasks):
            chance = torch.Generator().manual_seed(1000 * seed + task)
            row = bank.table.detach()[k * n_tasks + task]
            for name in bank.names:
                a, _ = bank.matrices(row, name)
                if _is_in(name, target):
                    torch.nn.init.kaiming_uniform_(a, a=5**0.5, generator=chance)


def _is_in(name: str, target: Target) -> bool:
    is_mlp = ".mlp." in name
    return is_mlp if target == "mlp" else not is_mlp if target == "attention" else False


def _only(adapter: AdapterWeights, target: Target) -> AdapterWeights:
    kept = {name: pair for name, pair in adapter.matrices.items() if _is_in(name, target)}
    return AdapterWeights(adapter.scale, kept, adapter.transposed)
