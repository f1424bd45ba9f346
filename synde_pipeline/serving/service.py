"""One running server's state: champion, memory, backend, journal and open traces; and what it does beside answering.

What becomes of one request is in `answering`; HTTP, in `app`.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from synde_pipeline.errors import InputError, SyndeError
from synde_pipeline.logs.labels import LabelRow
from synde_pipeline.memory.live import LiveMemory
from synde_pipeline.models.registry import Champion, champion
from synde_pipeline.serving.api import ApiError, Feedback
from synde_pipeline.serving.choice import Chooser, Versions
from synde_pipeline.serving.filing import KEPT, file_closed, label_of, recovered
from synde_pipeline.serving.journal import OPEN, Journal
from synde_pipeline.serving.keys import FOLDER, Caller
from synde_pipeline.serving.metrics import Metrics
from synde_pipeline.serving.traces import OpenTraces, Trace
from synde_pipeline.serving.versions import Version, champion_version, version_named
from synde_pipeline.serving.writing import Backend
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse

_LOG = logging.getLogger("synde.serving")

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Service:
    """Everything that requests share; made by `app.create_app`, lives on one event loop."""

    settings: Settings
    backend: Backend
    weights: Versions | None
    """None where another server writes the answers and has no adapters of ours."""
    clock: Clock = _now
    traces: OpenTraces = field(default_factory=OpenTraces)
    metrics: Metrics = field(default_factory=Metrics)
    is_closing: bool = False
    problem: str = ""
    """Why the newest champion is not served; empty while it is."""

    def __post_init__(self) -> None:
        self.warehouse = Warehouse(self.settings.warehouse)
        self.memory = LiveMemory(self.warehouse, self.settings.memory)
        self.journal = Journal(self.settings.home / FOLDER / "journal.sqlite")
        self.champion: Champion = champion(self.warehouse)
        self._held: Chooser | None = None
        self._filing = asyncio.Lock()
        self._beside: asyncio.Task[None] | None = None

    @property
    def today(self) -> date:
        """As of which day memory is asked."""
        return self.clock().astimezone(UTC).date()

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the champion, recover what was under way, and begin to look after both."""
        await asyncio.to_thread(self.memory.current)
        await self._follow_champion(is_first=True)
        for uid, about, _, _ in await asyncio.to_thread(self.journal.traces, OPEN):
            self.traces.recover(await asyncio.to_thread(recovered, self.journal, uid, about))
        await self.file()
        await asyncio.wrap_future(self.journal.forget(self.clock() - KEPT))
        self._beside = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """File what is over and let go of everything; open traces stay in the journal for the next start."""
        self.is_closing = True
        if self._beside is not None:
            self._beside.cancel()
            with suppress(asyncio.CancelledError):
                await self._beside
        await self.file()
        await self.backend.close()
        await asyncio.to_thread(self.journal.close)

    async def _look_after(self) -> None:
        limits, filed = self.settings.serving, time.monotonic()
        while True:
            await asyncio.sleep(min(limits.poll_s, limits.file_s))
            await self._follow_champion()
            since = self.clock() - timedelta(seconds=limits.idle_s)
            for trace in self.traces.idle(since):
                await self.close_trace(trace, None)
            if time.monotonic() - filed >= limits.file_s:
                await self.file()
                filed = time.monotonic()

    # -- the champion -------------------------------------------------------------------------------------------

    async def _follow_champion(self, *, is_first: bool = False) -> None:
        """Serve the newest champion; while it cannot be loaded, the one before (law 11)."""
        try:
            known = await asyncio.to_thread(champion, self.warehouse)
            if not is_first and known == self.champion and not self.problem:
                return
            if self.weights is not None:
                loaded = await asyncio.to_thread(self.weights.acquire, champion_version(known))
                before, self._held = self._held, loaded
                if before is not None:
                    before.release()
            self.metrics.swapped(is_swap=not is_first and known.hash != self.champion.hash)
            self.champion, self.problem = known, ""
        except (SyndeError, OSError) as error:
            if is_first:
                raise
            if str(error) != self.problem:
                _LOG.error("the new champion is not served: %s", error)
            self.problem = str(error)

    def version_for(self, name: str) -> Version:
        """The version that a request names; whatever another server's model is called, the champion helps it.

        Raises:
            ApiError: there is none.
        """
        if self.backend.name != "local":
            return champion_version(self.champion)
        found = version_named(self.warehouse, self.champion, name)
        if found is None:
            raise ApiError(404, f"there is no model {name!r}; expected synde, or one of GET /v1/models", param="model")
        return found

    # -- traces -------------------------------------------------------------------------------------------------

    async def new_uid(self, caller: Caller, name: str | None) -> str:
        """A uid for a new trace: the name that a client gives it, with a number where that one is over."""
        if not name:
            return f"{caller.source}:{uuid.uuid4().hex}"
        for number in range(1, 1_000_000):
            uid = f"{caller.source}:{name}" + (f"-{number}" if number > 1 else "")
            if uid in self.traces.by_uid or await asyncio.to_thread(self.journal.trace, uid) is None:
                return uid
        raise ApiError(400, "this trace was closed a million times", param="x-synde-trace")

    async def close_trace(self, trace: Trace, label: Mapping[str, Any] | None) -> None:
        """A trace is over; what became of it is durable when this returns."""
        self.traces.close(trace)
        await asyncio.wrap_future(self.journal.closed(trace.uid, label, self.clock()))

    async def file(self) -> None:
        """Put what is over into landing."""
        async with self._filing:
            try:
                n = await asyncio.to_thread(file_closed, self.journal, self.warehouse)
                self.metrics.landed(n)
            except (SyndeError, OSError) as error:
                _LOG.error("what was answered could not be filed, and waits in the journal: %s", error)

    async def feedback(self, caller: Caller, said: Feedback) -> tuple[str, str]:
        """Label the trace of a response: it is over, or was already and gets a late label; returns its uid and how.

        Raises:
            ApiError: the response is unknown, or another key's, or the feedback says nothing.
        """
        found = await asyncio.to_thread(self.journal.trace_of, said.id)
        if found is None or found[1]["owner"] != caller.name:
            raise ApiError(404, "there is no such response of this key; expected the id of one that it was given")
        uid, _, state = found
        try:
            outcome, reward = label_of(said.outcome, said.score, said.threshold)
        except InputError as error:
            raise ApiError(400, str(error)) from error
        self.metrics.labelled(outcome)
        trace = self.traces.by_uid.get(uid)
        if state == OPEN and trace is not None:
            await self.close_trace(trace, {"outcome": outcome, "reward": reward, "by": said.by})
            return uid, "closed"
        values = {"trace_uid": uid, "outcome": outcome, "reward": reward, "label_source": said.by, "at": self.clock()}
        row = LabelRow.model_validate(values)
        await asyncio.wrap_future(self.journal.labelled(row.hash, row.model_dump_json()))
        return uid, "labelled"
