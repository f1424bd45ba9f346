"""Offline replay: how well a model predicts what successful agents did, step by step.

For each step: negative log likelihood of the logged action (nats per token), and whether the logged tool's name is the
likeliest of all tool names seen so far. Nothing is generated and no environment is needed.
"""

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from tqdm import tqdm

from synde_pipeline.evaluation.name_scores import Asked, NameScores
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder, Window
from synde_pipeline.records import MemoryItem, Trajectory


@dataclass(frozen=True)
class TaskSums:
    """Sums over the replayed steps of one task."""

    task_id: str
    nll: float
    """Nats."""
    n_tokens: int
    """Action tokens."""
    n_tool_top1: int
    n_steps: int
    n_context_tokens: int
    """Tokens of the memory block, summed over steps."""
    n_truncated_steps: int
    """Steps scored with earlier whole steps dropped."""
    n_elided: int
    """Texts whose middle was cut, and memory items that did not fit."""
    seconds: float
    """Wall time of the forward passes that score the actions; no part of any content hash."""


class Recalls(Protocol):
    """Says what an agent would have been shown."""

    def recall_before(self, trajectory: Trajectory) -> list[MemoryItem]:
        """The items at the start of a trajectory."""
        ...


@dataclass
class Recalled:
    """The first `top_k` items that memory shows, asked once for each trajectory."""

    memory: Memory
    top_k: int
    _known: dict[str, list[MemoryItem]] = field(default_factory=dict)

    def recall_before(self, trajectory: Trajectory) -> list[MemoryItem]:
        """As `Memory.recall_before`, cut; fewer items are the first ones of more."""
        if trajectory.trace_uid not in self._known:
            self._known[trajectory.trace_uid] = self.memory.recall_before(trajectory)
        return self._known[trajectory.trace_uid][: self.top_k]

    def cut(self, top_k: int) -> "Recalled":
        """The same answers with fewer items."""
        return Recalled(self.memory, top_k, self._known)


class Replayer:
    """Replays trajectories through one model.

    Args:
        model: a causal LM in evaluation mode.
        encoder: of the model's tokenizer.
        tools: the tool names that compete for rank one.
        memory: what the arm shows; None for the arms without context.
        at: entered around the model calls of one run, with its (domain, scope): lets a router pick an adapter.
    """

    def __init__(
        self,
        model: Any,
        encoder: PromptEncoder,
        tools: Sequence[str],
        memory: Recalls | None,
        at: Callable[[tuple[str, str]], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._memory = memory
        self._at = at
        self._candidates = {tool: encoder.tool_ids(tool) for tool in tools}
        self._names = NameScores(model)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def replay(self, trajectories: Iterable[Trajectory], label: str) -> list[TaskSums]:
        """Score all trajectories; returns one row a task, in the order of task ids."""
        sums: dict[str, TaskSums] = {}
        items = sorted(trajectories, key=lambda item: (item.task_id, item.trace_uid))
        for item in tqdm(items, desc=f"replay {label}", unit="run", disable=None, leave=False):
            with self._at((item.domain, item.scope)):
                scored = self._score(item)
            sums[item.task_id] = _add(sums[item.task_id], scored) if item.task_id in sums else scored
        return list(sums.values())

    def _score(self, item: Trajectory) -> TaskSums:
        import torch

        memory = self._memory.recall_before(item) if self._memory else []
        total = TaskSums(item.task_id, 0.0, 0, 0, 0, 0, 0, 0, 0.0)
        steps = {step.index: step for step in item.steps}
        for window in self._encoder.windows(item.domain, item.task, memory, item.steps):
            ids = torch.tensor([window.ids])
            started = time.perf_counter()
            taken, first, cache = self._read(ids, window)
            seconds = time.perf_counter() - started
            tools = [steps[span.index].tool for span in window.targets]
            n_top1 = self._n_top1(ids, window, tools, (taken, first, cache))
            total = _add(total, _window_sums(item.task_id, window, taken, n_top1, seconds))
        return total

    def _read(self, ids: Any, window: Window) -> tuple[Any, Any, Any]:
        """One forward pass.

        Only the positions before action tokens go through the head and the softmax, which cost small bases with large
        vocabularies more than all the rest.

        Returns:
            taken: (tokens,), log probability of each action token, 0 elsewhere.
            first: (targets, vocabulary), log probabilities of what each target's tool may begin with.
            cache: keys and values of the window.
        """
        import torch

        spans = [span for target in window.targets for span in (target.tool, target.action)]
        at = torch.tensor(sorted({k - 1 for start, end in spans for k in range(start, end)}), dtype=torch.long)
        with torch.inference_mode():
            output = self._model(input_ids=ids, use_cache=True, **({"logits_to_keep": at} if self._keeps else {}))
            logits = output.logits[0] if self._keeps else output.logits[0, at]
            log_p = logits.float().log_softmax(-1)  # (positions, vocabulary)
        taken = torch.zeros(ids.shape[1])
        taken[at + 1] = log_p.gather(-1, ids[0, at + 1, None])[:, 0]
        rows = torch.searchsorted(at, torch.tensor([target.tool[0] - 1 for target in window.targets]))
        return taken, log_p[rows], output.past_key_values

    def _n_top1(self, ids: Any, window: Window, tools: Sequence[str], read: tuple[Any, Any, Any]) -> int:
        """Targets where no other name is likelier than the logged tool's; an unseen name never ranks first.

        The logged name's score is in the window already. A name is never likelier than its first token, so only names
        whose first token alone beats that score are scored.
        """
        taken, first, cache = read
        asked, logged, begun, n = [], [], [], 0
        for target, tool, log_p in zip(window.targets, tools, first, strict=True):
            if tool not in self._candidates:
                continue
            start, end = target.tool
            own = float(taken[start:end].sum())
            rivals = [row for name, row in self._candidates.items() if name != tool and float(log_p[row[0]]) > own]
            if rivals:
                asked.append(Asked(start, rivals))
                logged.append(own)
                begun.append(log_p[[row[0] for row in rivals]].tolist())
            else:
                n += 1
        rest = self._names.rest(ids, cache, asked)
        return n + sum(
            max(map(sum, zip(heads, tails, strict=True))) <= own
            for own, heads, tails in zip(logged, begun, rest, strict=True)
        )


def _window_sums(task_id: str, window: Window, taken: Any, n_top1: int, seconds: float) -> TaskSums:
    spans = [span.action for span in window.targets]
    n_steps = len(window.targets)
    return TaskSums(
        task_id,
        nll=-sum(float(taken[start:end].double().sum()) for start, end in spans),
        n_tokens=sum(end - start for start, end in spans),
        n_tool_top1=n_top1,
        n_steps=n_steps,
        n_context_tokens=window.n_context_tokens * n_steps,
        n_truncated_steps=n_steps if window.n_dropped_steps else 0,
        n_elided=window.n_elided,
        seconds=seconds,
    )


def _add(a: TaskSums, b: TaskSums) -> TaskSums:
    return TaskSums(
        a.task_id,
        a.nll + b.nll,
        a.n_tokens + b.n_tokens,
        a.n_tool_top1 + b.n_tool_top1,
        a.n_steps + b.n_steps,
        a.n_context_tokens + b.n_context_tokens,
        a.n_truncated_steps + b.n_truncated_steps,
        a.n_elided + b.n_elided,
        a.seconds + b.seconds,
    )
