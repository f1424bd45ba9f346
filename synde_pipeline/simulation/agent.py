"""The agent of the embedded worlds: ReAct turns of many episodes in lockstep, on one model with a KV cache.

It sees a task, perhaps memory items, and observations; it writes thought, tool and arguments. Prompts are laid out by
`prompting`, so a trajectory that is logged here is trained on as the very tokens that were acted with. Whether an
episode succeeded is said by the environment (`worlds.base`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from synde_pipeline.prompting import ACT, ARGS, END, SEE, THINK, PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.worlds.base import Episode, Task

BATCH = 128
"""Episodes in lockstep. More would save little: at this size the arithmetic, not the overhead, takes the time."""
MAX_TURN_TOKENS = 24
"""Tokens after which a turn without an end is cut; one of the world's takes eight."""
INVALID = "invalid"
"""Tool name under which a turn that is none is logged."""

Routed = Callable[[Sequence[int]], AbstractContextManager[Any]]
"""Adapter index of each row -> context in which the model is called; -1 is the base alone."""


@dataclass(frozen=True)
class Turn:
    """One step of an episode."""

    state: str
    reasoning: str
    tool: str
    arguments: str
    result: str
    success: bool


@dataclass
class Run:
    """One finished episode."""

    task: Task
    shown: tuple[str, ...]
    """Ids of the memory items in its context."""
    n_context_tokens: int
    is_success: bool = False
    turns: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Assignment:
    """A task, the memory items that its agent is shown, and the adapter that it acts with."""

    task: Task
    memory: tuple[MemoryItem, ...] = ()
    adapter: int = -1


@dataclass
class _Row:
    """An episode under way."""

    run: Run
    episode: Episode
    adapter: int
    chances: Any
    """Uniform numbers, one a token: of this episode alone, so that its neighbours in a batch change nothing."""
    state: str
    feed: list[int]
    """Token ids that the model has not been given yet."""
    n_drawn: int = 0
    said: list[int] = field(default_factory=list)


class Agent:
    """Acts with one model.

    Args:
        model: a causal LM in evaluation mode.
        tokenizer: its fast tokenizer.
        encoder: prompt layout, of the same tokenizer.
        temperature: of sampling; 0 takes the likeliest token.
        seed: of sampling.
        routed: how rows reach their adapters; None for a model without.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        encoder: PromptEncoder,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        routed: Routed | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._temperature = temperature
        self._seed = seed
        self._routed: Routed = routed or (lambda _: nullcontext())
        self._ids: dict[str, list[int]] = {}

    def act(self, assignments: Sequence[Assignment], label: str = "episodes") -> list[Run]:
        """Run every assignment to its end; returns the runs in their order."""
        runs = []
        with tqdm(total=len(assignments), desc=label, unit="episode", disable=None, leave=False) as bar:
            for start in range(0, len(assignments), BATCH):
                batch = [self._row(assignment) for assignment in assignments[start : start + BATCH]]
                self._lockstep(batch)
                runs += [row.run for row in batch]
                bar.update(len(batch))
        return runs

    def _row(self, assignment: Assignment) -> _Row:
        task = assignment.task
        prompt = self._encoder.prompt(task.place.world.domain, task.text, assignment.memory)
        episode = Episode(task, seed=self._seed)
        budget = task.budget * MAX_TURN_TOKENS
        digest = hashlib.sha256(f"sampling:{self._seed}:{task.task_id}".encode()).digest()
        return _Row(
            run=Run(task, tuple(item.item_id for item in assignment.memory), prompt.n_context_tokens),
            episode=episode,
            adapter=assignment.adapter,
            chances=np.random.default_rng(list(digest)).random(budget),
            state=episode.observation,
            feed=[*prompt.ids, *self._observation(episode.observation)],
        )

    def _observation(self, text: str) -> list[int]:
        return [*self._encoder.marker(SEE), *self._text(text)]

    def _text(self, text: str) -> list[int]:
        found = self._ids.get(text)
        if found is None:
            found = self._ids[text] = self._encoder.text(text)
        return found

    # -- lockstep -----------------------------------------------------------------------------------------------

    def _lockstep(self, rows: list[_Row]) -> None:
        import torch

        with torch.inference_mode():
            batch = _Batch(self._model, self._tokenizer.pad_token_id)
            alive = rows
            while alive:
                self._turn(batch, alive)
                kept = [k for k, row in enumerate(alive) if not row.episode.is_over]
                if len(kept) < len(alive):
                    batch.keep(kept)
                    alive = [alive[k] for k in kept]

    def _turn(self, batch: "_Batch", rows: list[_Row]) -> None:
        """Every row reads what it has not read yet, writes one turn, and its environment answers."""
        end = self._encoder.marker(END)[0]
        writing = [True] * len(rows)
        feeds = [row.feed for row in rows]
        for row in rows:
            row.said = []
        with self._routed([row.adapter for row in rows]):
            for _ in range(MAX_TURN_TOKENS):
                drawn = self._draw(batch.feed(feeds), rows)
                for k, row in enumerate(rows):
                    if writing[k]:
                        row.said.append(drawn[k])
                        writing[k] = drawn[k] != end
                if not any(writing):
                    break
                feeds = [[row.said[-1]] if writing[k] else [] for k, row in enumerate(rows)]
        for row in rows:
            self._answer(row, end)

    def _draw(self, logits: Any, rows: list[_Row]) -> list[int]:
        """Sample one token a row by its own uniform number. Logits: (rows, vocabulary)."""
        import torch

        if self._temperature == 0:
            return logits.argmax(-1).tolist()
        total = (logits.double() / self._temperature).softmax(-1).cumsum(-1)
        chance = torch.tensor([row.chances[row.n_drawn] for row in rows], dtype=torch.float64)
        for row in rows:
            row.n_drawn += 1
        # The last sum may round below 1: scale instead of running over the end.
        return torch.searchsorted(total, (chance * total[:, -1])[:, None]).squeeze(1).tolist()

    def _answer(self, row: _Row, end: int) -> None:
        """Let the environment answer a turn, and queue what the model has not read: the turn's end and the answer."""
        complete = row.said[-1] == end
        reasoning, tool, arguments = self._parse(row.said[:-1] if complete else row.said)
        reply = row.episode.act(tool, arguments)
        row.run.turns.append(Turn(row.state, reasoning, tool, arguments, reply.result, reply.success))
        row.run.is_success = row.episode.is_success
        row.state = reply.result
        # A turn that was cut lost its last drawn token too: that one was never fed.
        row.feed = [row.said[-1], *([] if complete else [end]), *self._observation(reply.result)]

    def _parse(self, said: list[int]) -> tuple[str, str, str]:
        """Thought, tool and arguments of a turn; a turn without them is the tool `invalid`."""
        act, args = self._encoder.marker(ACT)[0], self._encoder.marker(ARGS)[0]
        if act in said and args in said[said.index(act) :]:
            at = said.index(act)
            to = said.index(args, at)
            think = self._encoder.marker(THINK)[0]
            before, tool, after = (self._decode(part) for part in (said[:at], said[at + 1 : to], said[to + 1 :]))
            if said[:1] == [think] and tool and not any(map(str.isspace, tool)):
                return before, tool, after
        return "", INVALID, self._decode(said)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)


class _Batch:
    """Rows of different lengths on one KV cache: padding lies on the left of every chunk and is masked out."""

    def __init__(self, model: Any, pad_id: int) -> None:
        from transformers.cache_utils import Cache

        self._model = model
        self._pad = pad_id
        self._cache = Cache(layer_class_to_replicate=_layer_class())
        self._mask: Any = None
        """(rows, tokens so far): 1 where a row has a token."""

    def feed(self, chunks: Sequence[Sequence[int]]) -> Any:
        """Give each row its next tokens; returns the logits behind the last of them, (rows, vocabulary).

        A row whose chunk is empty is fed padding; its logits mean nothing.
        """
        import torch

        width = max(map(len, chunks))
        ids = torch.full((len(chunks), width), self._pad)
        mask = torch.zeros((len(chunks), width), dtype=torch.long)
        for k, chunk in enumerate(chunks):
            if chunk:
                ids[k, -len(chunk) :] = torch.tensor(chunk)
                mask[k, -len(chunk) :] = 1
        self._mask = mask if self._mask is None else torch.cat([self._mask, mask], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows only."""
        import torch

        self._cache.batch_select_indices(torch.tensor(rows, dtype=torch.long))
        self._mask = self._mask[list(rows)]


def _layer_class() -> Any:
    """A cache layer that grows in place; the library's own copies itself for every token."""
    import torch
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        buffers: Any = None

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            done = self.get_seq_length()
            end = done + key_states.shape[-2]
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            if self.buffers is None or end > self.buffers[0].shape[-2]:
                rows, heads, _, width = key_states.shape
                room = [torch.empty((rows, heads, 2 * end, width), dtype=key_states.dtype) for _ in range(2)]
                if self.buffers is not None:
                    for new, old in zip(room, self.buffers, strict=True):
                        new[..., :done, :] = old[..., :done, :]
                self.buffers = room
            for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[..., done:end, :] = states
            self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            done = self.get_seq_length()
            self.buffers = [buffer[indices] for buffer in self.buffers]
            self.keys, self.values = (buffer[..., :done, :] for buffer in self.buffers)

    return GrowingLayer


def by_place(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """Runs of each place, in the order of names: successes of one place are not independent."""
    places = sorted({run.task.place.scope for run in runs})
    for scope in places:
        yield scope, [run for run in runs if run.task.place.scope == scope]
