"""Offline replay: how well a model predicts what successful agents did, step by step.

For each step: negative log likelihood of the logged action (nats per token), and whether the logged tool's name is the
likeliest of all tool names seen so far. Nothing is generated and no environment is needed.
"""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from tqdm import tqdm

from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder, StepSpan, Window
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
            with torch.inference_mode():
                output = self._model(input_ids=ids, use_cache=True)
                log_p = output.logits[0].float().log_softmax(-1)  # (tokens, vocabulary)
            seconds = time.perf_counter() - started
            cache = output.past_key_values
            top1 = [self._is_top1(ids, log_p, cache, span, steps[span.index].tool) for span in window.targets]
            total = _add(total, _window_sums(item.task_id, window, log_p, top1, seconds))
        return total

    def _is_top1(self, ids: Any, log_p: Any, cache: Any, span: StepSpan, tool: str) -> bool:
        """Whether no other name is likelier than the logged tool's; an unseen name never ranks first.

        The logged name's score is in the window already. A name is never likelier than its first token, so only names
        whose first token alone beats that score need a forward pass.
        """
        if tool not in self._candidates:
            return False
        start, end = span.tool
        logged = float(log_p[start - 1 : end - 1].gather(-1, ids[0, start:end, None]).sum())
        first = log_p[start - 1]
        rivals = [row for name, row in self._candidates.items() if name != tool and float(first[row[0]]) > logged]
        return not rivals or max(self._name_scores(rivals, first, cache, ids[:, :start])) <= logged

    def _name_scores(self, names: list[list[int]], first_log_p: Any, cache: Any, prefix: Any) -> list[float]:
        """Log probability of names, given as tokens, after a prefix (1, tokens) whose keys and values are cached."""
        import torch

        n_prefix = prefix.shape[1]

        width = max(map(len, names))
        ids = torch.zeros((len(names), width), dtype=torch.long)
        mask = torch.zeros((len(names), width))
        for row, tokens in enumerate(names):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with torch.inference_mode():
            try:
                shared = copy.deepcopy(cache)
                shared.crop(n_prefix - shared.get_seq_length())  # negative: so many tokens off the end
                shared.batch_repeat_interleave(len(names))
                logits = self._model(input_ids=ids[:, :-1], past_key_values=shared, use_cache=True).logits
            except (RuntimeError, AttributeError, NotImplementedError):
                # Sliding-window and recurrent caches cannot be cut back: read the prefix again with each name.
                whole = torch.cat([prefix.expand(len(names), -1), ids[:, :-1]], dim=1)
                logits = self._model(input_ids=whole, use_cache=False).logits[:, prefix.shape[1] :]
        later = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # (names, width - 1)
        return (first_log_p[ids[:, 0]] + (later * mask[:, 1:]).sum(-1)).tolist()


def _window_sums(task_id: str, window: Window, log_p: Any, top1: list[bool], seconds: float) -> TaskSums:
    import torch

    ids = torch.tensor(window.ids)
    taken = log_p[:-1].gather(-1, ids[1:, None])[:, 0]  # taken[i] is the log probability of token i + 1
    spans = [span.action for span in window.targets]
    n_steps = len(window.targets)
    return TaskSums(
        task_id,
        nll=-sum(float(taken[start - 1 : end - 1].double().sum()) for start, end in spans),
        n_tokens=sum(end - start for start, end in spans),
        n_tool_top1=sum(top1),
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
