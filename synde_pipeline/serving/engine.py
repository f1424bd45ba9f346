"""The continuous batch: generations that come and go on one model, each with adapters of its own, one token a step.

One thread owns the model. A generation that arrives reads its prompt beside the others and joins them at the next
token; one that ends makes room at once. Adapters of several versions of the champion may be in use at the same time:
an answer is finished with the version that it was begun with.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from synde_pipeline.models.batch import Batch
from synde_pipeline.training.bank import NONE, AdapterBank

Ending = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Slot:
    """The adapter of a generation."""

    bank: AdapterBank
    index: int


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int
    stops: tuple[tuple[int, ...], ...] = ()
    """Runs of tokens that end the answer and are no part of it."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Share of the probability from which is drawn, the likeliest tokens first."""
    seed: int | None = None


@dataclass(eq=False)
class Generation:
    """One answer in the making. Callbacks are called by the engine's thread, and must be quick."""

    ids: Sequence[int]
    """Prompt."""
    sampling: Sampling
    on_token: Callable[[int], None]
    on_end: Callable[[Ending | BaseException], None]
    slot: Slot | None = None
    is_cancelled: bool = False
    """Set by whoever does not want it any more."""
    said: list[int] = field(default_factory=list)
    _draw: Any = None
    _n_told: int = 0

    def draw(self, logits: Any) -> int:
        """Draw the next token. Logits: (vocabulary,)."""
        how = self.sampling
        if how.temperature == 0:
            return int(logits.argmax())
        if self._draw is None:
            self._draw = np.random.default_rng(how.seed)
        shares, order = (logits.double() / how.temperature).softmax(-1), None
        if how.top_p < 1:
            shares, order = shares.sort(descending=True)
        sums = shares.cumsum(-1)
        n = len(sums) if order is None else min(int((sums < how.top_p).sum()) + 1, len(sums))  # as few as reach it
        at = min(int((sums < self._draw.random() * float(sums[n - 1])).sum()), n - 1)
        return at if order is None else int(order[at])

    def take(self, token: int) -> Ending | None:
        """Add a token; says whether the answer has ended. What may be the beginning of a stop is held back."""
        self.said.append(token)
        n_held = 0
        for stop in self.sampling.stops:
            n = _overlap(self.said, stop)
            if n == len(stop) > 0:
                del self.said[-n:]
                self._tell(len(self.said))
                return "stop"
            n_held = max(n_held, n)
        is_full = len(self.said) >= self.sampling.max_tokens
        self._tell(len(self.said) - (0 if is_full else n_held))
        return "length" if is_full else None

    def _tell(self, n: int) -> None:
        """Let everything up to the n-th token be known."""
        for token in self.said[self._n_told : n]:
            self.on_token(token)
        self._n_told = max(self._n_told, n)


def _overlap(said: Sequence[int], stop: Sequence[int]) -> int:
    """Tokens at the end of an answer with which a stop begins, at most."""
    return next((n for n in range(min(len(stop), len(said)), 0, -1) if tuple(said[-n:]) == tuple(stop[:n])), 0)


class Engine:
    """Runs generations on a model until it is closed.

    Args:
        model: a causal LM in evaluation mode.
        pad_id: any token id: what pads is masked.
        most_rows: generations at once; the others wait.
        most_prompt_tokens: prompt tokens that are read between two tokens of the others.
    """

    def __init__(self, model: Any, pad_id: int, *, most_rows: int = 64, most_prompt_tokens: int = 4096) -> None:
        self._model, self._pad = model, pad_id
        self._most_rows, self._most_prompt_tokens = most_rows, most_prompt_tokens
        self._wake = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_closed = False
        self._rows: list[Generation] = []
        self._batch: Batch | None = None
        self._logits: Any = None  # (rows, vocabulary), behind the last token of each
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Generations that have not begun."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Generations that write."""
        return len(self._rows)

    def submit(self, generation: Generation) -> None:
        """Let a generation begin as soon as there is room.

        Raises:
            RuntimeError: the engine is closed.
        """
        with self._wake:
            if self._is_closed:
                raise RuntimeError("the engine is closed")
            self._waiting.append(generation)
            self._wake.notify()

    def call(self, work: Callable[[], Any]) -> "Future[Any]":
        """Do work on the model between two tokens, where nobody else touches it.

        Raises:
            RuntimeError: the engine is closed.
        """
        done: Future[Any] = Future()
        with self._wake:
            if self._is_closed:
                raise RuntimeError("the engine is closed")
            self._calls.append((work, done))
            self._wake.notify()
        return done

    def close(self) -> None:
        """Cancel what is running or waiting, and end the thread."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        import torch

        with torch.inference_mode():
            while True:
                with self._wake:
                    while not (self._rows or self._waiting or self._calls or self._is_closed):
                        self._wake.wait()
                if self._is_closed:
                    break
                self._between()
                self._guarded(self._admit)
                self._guarded(self._step)
        self._between()
        for generation in (*self._rows, *self._waiting):
            generation.on_end("cancelled")

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever fails (memory, a model's bug) ends those whose work it was; the engine goes on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - one bad request must not end the server
            for generation in self._rows:
                generation.on_end(error)
            self._rows, self._batch, self._logits = [], None, None

    def _between(self) -> None:
        """What may only be done while no forward pass runs."""
        while self._calls:
            work, done = self._calls.popleft()
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)

    def _admit(self) -> None:
        """Let those who wait read their prompts and join, as many as there is room for."""
        import torch

        new: list[Generation] = []
        n_tokens = 0
        while self._waiting and len(self._rows) + len(new) < self._most_rows:
            n_tokens = max(n_tokens, len(self._waiting[0].ids)) if new else len(self._waiting[0].ids)
            if new and n_tokens * (len(new) + 1) > self._most_prompt_tokens:
                break
            generation = self._waiting.popleft()
            if generation.is_cancelled:
                generation.on_end("cancelled")
            else:
                new.append(generation)
        if not new:
            return
        try:
            joining = Batch(self._model, self._pad)
            with _routed(new):
                logits = joining.feed([generation.ids for generation in new])
        except Exception as error:  # noqa: BLE001 - theirs alone: those who write already go on
            for generation in new:
                generation.on_end(error)
            return
        if self._batch is None:
            self._batch, self._logits = joining, logits
        else:
            self._batch.join(joining)
            self._logits = torch.cat([self._logits, logits])
        self._rows += new

    def _step(self) -> None:
        """One token for everybody."""
        if not self._rows or self._batch is None:
            return
        ended: list[Ending | None] = []
        for generation, logits in zip(self._rows, self._logits, strict=True):
            ended.append("cancelled" if generation.is_cancelled else generation.take(generation.draw(logits)))
        kept = [k for k, how in enumerate(ended) if how is None]
        done: list[tuple[Generation, Ending]] = [
            (generation, how) for generation, how in zip(self._rows, ended, strict=True) if how is not None
        ]
        self._rows = [self._rows[k] for k in kept]
        for generation, how in done:
            generation.on_end(how)
        if not kept:
            self._batch = self._logits = None
            return
        if done:
            self._batch.keep(kept)
        with _routed(self._rows):
            self._logits = self._batch.feed([[generation.said[-1]] for generation in self._rows])


@contextmanager
def _routed(rows: Sequence[Generation]) -> Iterator[None]:
    """Each row with its adapter."""
    slots = [generation.slot for generation in rows]
    with ExitStack() as stack:
        for bank in {slot.bank for slot in slots if slot}:
            stack.enter_context(bank.routed([slot.index if slot and slot.bank is bank else NONE for slot in slots]))
        yield
