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
from typing import Any

from synde_pipeline.models.batch import Batch
from synde_pipeline.serving.generation import Ending, Generation, Slot
from synde_pipeline.serving.prefixes import Prefixes
from synde_pipeline.training.bank import NONE, AdapterBank


class Engine:
    """Runs generations on a model until it is closed.

    Args:
        model: a causal LM in evaluation mode.
        pad_id: any token id: what pads is masked.
        most_rows: generations at once; the others wait.
        most_prompt_tokens: prompt tokens that are read between two tokens of the others.
        most_kept_tokens: tokens of finished answers whose keys and values are kept for what goes on from there.
    """

    def __init__(
        self,
        model: Any,
        pad_id: int,
        *,
        most_rows: int = 64,
        most_prompt_tokens: int = 4096,
        most_kept_tokens: int = 0,
    ) -> None:
        self._model, self._pad = model, pad_id
        self._prefixes = Prefixes(most_kept_tokens)
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

    def forget(self, bank: AdapterBank) -> None:
        """A bank leaves the model; to be called through `call`."""
        self._prefixes.forget(lambda slot: isinstance(slot, Slot) and slot.bank is bank)

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
            self._prefixes.forget(lambda _: True)  # if it was memory, there is some now
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
            joining, logits = self._read(new)
        except Exception as error:  # noqa: BLE001 - theirs alone: those who write already go on
            self._prefixes.forget(lambda _: True)
            for generation in new:
                generation.on_end(error)
            return
        if self._batch is None:
            self._batch, self._logits = joining, logits
        else:
            self._batch.join(joining)
            self._logits = torch.cat([self._logits, logits])
        self._rows += new

    def _read(self, new: list[Generation]) -> tuple[Batch, Any]:
        """Read prompts; sorts those that go on from what was read before to the end, each read alone: without gaps."""
        import torch

        begun = [(generation, self._prefixes.begin(generation.weights, generation.ids)) for generation in new]
        whole = [generation for generation, found in begun if found is None]
        going_on = [(generation, found) for generation, found in begun if found is not None]
        new[:] = [*whole, *(generation for generation, _ in going_on)]
        parts: list[tuple[Batch, Any]] = []
        if whole:
            batch = Batch(self._model, self._pad)
            with _routed(whole):
                parts.append((batch, batch.feed([generation.ids for generation in whole])))
        for generation, (batch, n) in going_on:
            with _routed([generation]):
                parts.append((batch, batch.feed([generation.ids[n:]])))
        joining = parts[0][0]
        for batch, _ in parts[1:]:
            joining.join(batch)
        return joining, torch.cat([logits for _, logits in parts])

    def _step(self) -> None:
        """One token for everybody."""
        if not self._rows or self._batch is None:
            return
        ended: list[Ending | None] = [
            "cancelled" if generation.is_cancelled else generation.take(generation.draw(logits))
            for generation, logits in zip(self._rows, self._logits, strict=True)
        ]
        done: list[tuple[int, Generation, Ending]] = [
            (k, row, how) for k, (row, how) in enumerate(zip(self._rows, ended, strict=True)) if how is not None
        ]
        kept = [k for k, how in enumerate(ended) if how is None]
        self._rows = [self._rows[k] for k in kept]
        # Answers first, they are whole: there may be no memory to keep what was read.
        for _, generation, how in done:
            generation.on_end(how)
        for k, generation, how in done:
            if how != "cancelled":
                self._prefixes.keep(generation.weights, [*generation.ids, *generation.said], self._batch, k)
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
