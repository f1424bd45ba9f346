"""Linear regression and pattern matching (section 9.2, phase 1), and small transformers that learn them in context.

Every example of a context is one token (x, y, "shown"), a query is one token (x, 0, "asked"): what a query gets from
its context can then be compared with what weights give it. The transformer is a GPT-NeoX with sequential residuals,
whose module names the paper's appendix B.3 uses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, mse_loss, one_hot

N_EXAMPLES = 10
"""Appendix C.1: 10 input-output examples."""
WIDTH, LAYERS, HEADS, INNER = 64, 3, 4, 128


@dataclass(frozen=True)
class Tasks:
    """Some tasks of a family: what is shown of each and what is asked. Every task has its own hidden rule."""

    shown: torch.Tensor
    """(tasks, examples, in)."""
    answers: torch.Tensor
    """(tasks, examples, out): what the context says of the shown ones."""
    asked: torch.Tensor
    """(tasks, queries, in)."""
    targets: torch.Tensor
    """(tasks, queries, out): the right answers."""


@dataclass(frozen=True)
class Family:
    """A kind of task."""

    name: str
    n_in: int
    n_out: int
    """1 is a number, more are labels."""
    draw: Callable[[int, int, torch.Generator], Tasks]
    """(tasks, queries of each, chance) -> tasks."""

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What training lowers, one value each: squared error, or nats."""
        if self.n_out == 1:
            return mse_loss(outputs, targets, reduction="none")[..., 0]
        flat = cross_entropy(outputs.flatten(0, -2), targets.argmax(-1).flatten(), reduction="none")
        return flat.view(targets.shape[:-1])

    def errors(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """How badly a task is done, (tasks,): squared error over the targets' power, or share of wrong labels."""
        if self.n_out == 1:
            return (outputs - targets).pow(2).mean((1, 2)) / targets.pow(2).mean((1, 2))
        return (outputs.argmax(-1) != targets.argmax(-1)).double().mean(1).to(outputs.dtype)


def _regression(n_tasks: int, n_queries: int, chance: torch.Generator) -> Tasks:
    """Answers w . x with w and x normal, of unit variance."""
    w = torch.randn(n_tasks, REGRESSION.n_in, 1, generator=chance) / REGRESSION.n_in**0.5
    shown = torch.randn(n_tasks, N_EXAMPLES, REGRESSION.n_in, generator=chance)
    asked = torch.randn(n_tasks, n_queries, REGRESSION.n_in, generator=chance)
    return Tasks(shown, shown @ w, asked, asked @ w)


def _patterns(n_tasks: int, n_queries: int, chance: torch.Generator) -> Tasks:
    """Each shown pattern has a label of four; a query is a shown pattern with noise, its answer that one's label."""
    n_in, n_out = PATTERNS.n_in, PATTERNS.n_out
    shown = torch.randn(n_tasks, N_EXAMPLES, n_in, generator=chance)
    labels = torch.randint(n_out, (n_tasks, N_EXAMPLES), generator=chance)
    which = torch.randint(N_EXAMPLES, (n_tasks, n_queries), generator=chance)
    noise = NOISE * torch.randn(n_tasks, n_queries, n_in, generator=chance)
    asked = torch.gather(shown, 1, which[..., None].expand(-1, -1, n_in)) + noise
    answers = one_hot(labels, n_out).float()
    return Tasks(shown, answers, asked, torch.gather(answers, 1, which[..., None].expand(-1, -1, n_out)))


NOISE = 0.3
REGRESSION = Family("linear regression", 5, 1, _regression)
PATTERNS = Family("pattern matching", 8, 4, _patterns)
FAMILIES = (REGRESSION, PATTERNS)


class InContextModel(torch.nn.Module):
    """Reads examples and queries as embeddings of a causal LM whose vocabulary are the answers."""

    def __init__(self, family: Family, seed: int) -> None:
        super().__init__()
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        torch.manual_seed(seed)
        config = GPTNeoXConfig(
            vocab_size=max(family.n_out, 2),  # a vocabulary of one word has no place for special tokens
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
            max_position_embeddings=64,
            use_parallel_residual=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.family = family
        self.read = torch.nn.Linear(family.n_in + family.n_out + 1, WIDTH)
        self.lm = GPTNeoXForCausalLM(config)

    def examples(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Tokens (..., width) of shown examples."""
        return self.read(torch.cat([x, y, torch.zeros_like(x[..., :1])], -1))

    def queries(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (..., width) of queries."""
        blank = x.new_zeros(*x.shape[:-1], self.family.n_out)
        return self.read(torch.cat([x, blank, torch.ones_like(x[..., :1])], -1))

    def contexts(self, tasks: Tasks) -> torch.Tensor:
        """Every query behind its task's examples: (tasks * queries, examples + 1, width)."""
        shown = self.examples(tasks.shown, tasks.answers)
        asked = self.queries(tasks.asked)
        n = asked.shape[1]
        return torch.cat([shown[:, None].expand(-1, n, -1, -1), asked[:, :, None]], 2).flatten(0, 1)

    def answer(self, tokens: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Answers (batch, out) at the last of some tokens (batch, tokens, width)."""
        places = None if positions is None else positions[None].expand(len(tokens), -1)
        return self.lm(inputs_embeds=tokens, position_ids=places, logits_to_keep=1).logits[:, -1, : self.family.n_out]


def trained(family: Family, seed: int, n_steps: int, batch: int = 32) -> tuple[InContextModel, list[float]]:
    """A model that learned to learn a family in context, and its losses.

    Args:
        family: the kind of task; every batch holds new tasks.
        seed: of weights and tasks.
        n_steps: optimiser steps.
        batch: tasks a step.
    """
    model = InContextModel(family, seed)
    chance = torch.Generator().manual_seed(seed)
    positions, mask = layout()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, n_steps))
    losses = []
    for _ in range(n_steps):
        tasks = family.draw(batch, N_TRAINED, chance)
        tokens = torch.cat([model.examples(tasks.shown, tasks.answers), model.queries(tasks.asked)], 1)
        logits = model.lm(inputs_embeds=tokens, attention_mask=mask, position_ids=positions).logits
        loss = family.losses(logits[:, N_EXAMPLES:, : family.n_out], tasks.targets).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return model.eval().requires_grad_(False), losses


RATE = 2e-3
N_TRAINED = 17
"""Queries of a task in training."""


def _rate(step: int, n_steps: int) -> float:
    """Warm-up over a twentieth, then a cosine to nothing."""
    warm = max(1, n_steps // 20)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (n_steps - warm)))


def layout() -> tuple[Any, torch.Tensor]:
    """Positions (1, tokens) and additive mask (1, 1, tokens, tokens) of a training sequence.

    All examples, then the queries, none of which sees another one. The first sees nothing at all: without a context the
    model is to say what is likeliest.
    """
    n, m = N_EXAMPLES, N_TRAINED
    place = torch.cat([torch.arange(n), torch.full((m,), n)])
    sees = torch.eye(n + m).bool()
    sees[:n, :n] = torch.ones(n, n).tril().bool()
    sees[n + 1 :, :n] = True
    return place[None], torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
