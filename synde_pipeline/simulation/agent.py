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

from synde_pipeline.models.batch import Batch
from synde_pipeline.prompting import ACT, ARGS, END, SEE, THINK, PromptEncoder
from synde_pipeline.records import INVALID, MemoryItem
from synde_pipeline.simulation.worlds.base import Episode, Task

BATCH = 128
"""Episodes in lockstep. More would save little: at this size the arithmetic, not the overhead, takes the time."""
MAX_TURN_TOKENS = 24
"""Tokens after which a turn without an end is cut; one of the world's takes eight."""

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
            batch = Batch(self._model, self._tokenizer.pad_token_id)
            alive = rows
            while alive:
                self._turn(batch, alive)
                kept = [k for k, row in enumerate(alive) if not row.episode.is_over]
                if len(kept) < len(alive):
                    batch.keep(kept)
                    alive = [alive[k] for k in kept]

    def _turn(self, batch: Batch, rows: list[_Row]) -> None:
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
                        row.n_drawn += 1
                        writing[k] = drawn[k] != end
                if not any(writing):
                    break
                feeds = [[row.said[-1]] if writing[k] else [] for k, row in enumerate(rows)]
        for row in rows:
            self._answer(row, end)

    def _draw(self, logits: Any, rows: list[_Row]) -> list[int]:
        """Sample one token a row by its own next uniform number. Logits: (rows, vocabulary)."""
        import torch

        if self._temperature == 0:
            return logits.argmax(-1).tolist()
        total = (logits.double() / self._temperature).softmax(-1).cumsum(-1)
        chance = torch.tensor(
            [row.chances[min(row.n_drawn, len(row.chances) - 1)] for row in rows], dtype=torch.float64
        )
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


def by_place(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """Runs of each place, in the order of names: successes of one place are not independent."""
    places = sorted({run.task.place.scope for run in runs})
    for scope in places:
        yield scope, [run for run in runs if run.task.place.scope == scope]
