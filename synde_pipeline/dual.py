"""Both layers in a few calls, without Dagster: `DualLearningSystem` (synde.txt section 8.2).

    system = DualLearningSystem("data")
    system.process_execution(log)
    if system.training_buffer.is_full("library"):
        system.fine_tune_cycle()

It calls the functions that the assets call, on the same warehouse: what one did, the other finds done.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.due import due_cycles, standing
from synde_pipeline.evaluation.gate import Verdict, decide
from synde_pipeline.evaluation.report import publish
from synde_pipeline.evaluation.status import status
from synde_pipeline.laboratory import base_data_for, report_of, scribe_for
from synde_pipeline.lease import lease
from synde_pipeline.llm import Llm
from synde_pipeline.logs.choices import AS_LOGGED
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.logs.days import DayRule
from synde_pipeline.logs.documents import Limits
from synde_pipeline.logs.joins import heard_of, join_labels
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import file_import
from synde_pipeline.logs.logger import LandingWriter
from synde_pipeline.logs.reading import native_files, read_files
from synde_pipeline.logs.tombstones import refuse_while_removing
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.embed import asking_through
from synde_pipeline.memory.live import LiveMemory
from synde_pipeline.memory.trial_contrasts import publish_contrasts
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.records import MemoryItem, Trajectory
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, Settings, load
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import EVERY, Buffer, freeze_cycles, read_buffer
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.daily import ensure_base, publish_examples, publish_shard
from synde_pipeline.training.examples import Example
from synde_pipeline.training.timings import note_training
from synde_pipeline.training.trust import Trust

_MAX_TRIES = 3
"""Of a cycle in one call: another process may move the champion that it is compared with."""

Log = Trajectory | Mapping[str, Any] | str | os.PathLike[str]
"""One execution as a record or its fields, or the path of a native log file, or of a folder of them."""


@dataclass(frozen=True)
class Processed:
    """What became of the logs handed in."""

    days: tuple[date, ...]
    """Days that were materialised, down to memory and examples."""
    n_trajectories: int
    """That these days hold now."""
    n_quarantined: int
    """Rows that were refused, with their reason, on import or in these days."""


@dataclass(frozen=True)
class TrainingBuffer:
    """What waits for training, as it was when it was asked for."""

    buffer: Buffer
    config: BufferConfig

    @property
    def waiting(self) -> Mapping[str, list[Example]]:
        """Domain -> examples that no cycle has claimed."""
        return self.buffer.unclaimed

    def n_waiting(self, domain: str) -> int:
        """Waiting examples of a domain that carry a training signal."""
        return self.buffer.n_signals(domain) if domain in self.waiting else 0

    def is_full(self, domain: str) -> bool:
        """Whether a domain's examples start a cycle: enough of them, of enough trajectories, or old enough."""
        return domain in self.waiting and self.buffer.is_ready(domain, self.config)

    def __len__(self) -> int:
        return sum(map(self.n_waiting, self.waiting))


@dataclass(frozen=True)
class Finished:
    """One training cycle, from shard to decision."""

    cycle: str
    was_trained: bool
    """False where its adapters had been trained from the same inputs before."""
    verdict: Verdict
    report: dict[str, Any]
    """The eval report, as `report.json` has it."""


class DualLearningSystem:
    """A warehouse that learns in both layers.

    Args:
        home: folder or settings of the warehouse; None takes the environment's (`SYNDE_HOME`).
    """

    def __init__(self, home: str | os.PathLike[str] | Settings | None = None) -> None:
        self.settings = home if isinstance(home, Settings) else load(Path(home) if home is not None else None)
        """Settings of the warehouse."""
        self._memory: LiveMemory | None = None

    @property
    def warehouse(self) -> Warehouse:
        """Where everything lies.

        Raises:
            RemovalError: a removal is under way.
        """
        found = Warehouse(self.settings.warehouse)
        refuse_while_removing(found)
        return found

    def process_execution(self, *logs: Log, rule: DayRule | None = None) -> Processed:
        """Land executions and materialise their days: raw logs, reflections, memory and training examples.

        Many logs in one call cost each day once. Landing an execution again changes nothing.

        Args:
            logs: records, their fields, or paths.
            rule: gives days to trajectories whose native log has no time.

        Raises:
            InputError: a log is no trajectory, does not exist, has no time and there is no rule, or lies outside the
                daily partitions; what came before it in the call is landed.
            LlmError: a language model was to read them and did not answer; the days before that one are done.
        """
        days: set[date] = set()
        n_bad = 0
        with LandingWriter(self.warehouse.root / LANDING, file_name="dual") as writer:
            for log in logs:
                if isinstance(log, str | os.PathLike):
                    found, bad = self._import(Path(log), rule)
                    days |= found
                    n_bad += bad
                else:
                    trajectory = log if isinstance(log, Trajectory) else _record_of(log)
                    self._check_day(trajectory.day)
                    writer.add(trajectory)
                    days.add(trajectory.day)
        llm = Llm(self.warehouse, self.settings.llm)  # one budget for the whole call
        with asking_through(lambda: llm):
            headers = [self._materialise(day, llm) for day in sorted(days)]
        publish_contrasts(self.warehouse, self.settings, llm)
        return Processed(
            tuple(sorted(days)),
            sum(header.counts["rows_out"] for header in headers),
            n_bad + sum(header.counts["quarantined"] for header in headers),
        )

    def _check_day(self, day: date) -> None:
        first, last = self.settings.start_day, datetime.now(UTC).date() + timedelta(days=1)
        if not first <= day <= last:
            raise InputError(f"a trajectory of {day}", expected=f"{first} to {last}", remedy="set SYNDE_START_DAY")

    def _import(self, path: Path, rule: DayRule | None) -> tuple[set[date], int]:
        today, days, n_bad, seen = datetime.now(UTC).date(), set[date](), 0, []
        limits = Limits(line=self.settings.machine.max_line_mb * 2**20)
        for found in read_files(native_files(path), rule=rule, limits=limits):
            filed = file_import(self.warehouse, found, self.settings.start_day, today)
            days |= filed.days
            n_bad += len(filed.bad)
            seen.append(heard_of(self.warehouse, found))
            del found  # else a block would be there while the next one is read
        return days | join_labels(self.warehouse, seen, AS_LOGGED, today).days, n_bad

    def _materialise(self, day: date, llm: Llm) -> Any:
        header = publish_raw_logs(self.warehouse, day)
        publish_reflections(self.warehouse, day, self.settings, llm)
        publish_deltas(self.warehouse, day, self.settings.memory)
        publish_memory(self.warehouse, day)
        publish_examples(self.warehouse, day, self.settings)
        return header

    @property
    def training_buffer(self) -> TrainingBuffer:
        """What waits for training now."""
        buffer = read_buffer(self.warehouse, standing(self.warehouse).rejected, trust=self._trust)
        return TrainingBuffer(buffer, self.settings.buffer)

    @property
    def _trust(self) -> Trust:
        return Trust.now(self.warehouse, self.settings.memory)

    def fine_tune_cycle(self, domain: str | None = None, *, now: bool = False) -> list[Finished]:
        """Freeze a cycle for each full domain, then train, merge, evaluate and decide on all that is due, oldest first.

        Args:
            domain: finish cycles of this one only; others stay due.
            now: freeze a cycle although the buffer is not full, of the domain or, without one, of all.

        Raises:
            SyndeError: the base cannot be used, or an artefact below a cycle is missing or stale.
        """
        with lease(self.warehouse.root, "training"):
            forced = [domain or EVERY] if now else []
            known = standing(self.warehouse)
            freeze_cycles(self.warehouse, self.settings.buffer, standing=known, forced=forced, trust=self._trust)
        done: list[Finished] = []
        while due := [cycle for cycle in due_cycles(self.warehouse) if domain in (None, cycle.domain)]:
            if sum(due[0].key == finished.cycle for finished in done) >= _MAX_TRIES:
                raise InputError(f"cycle {due[0].key} is due again after it ran", remedy="report this as a bug")
            with lease(self.warehouse.root, "training"):
                done.append(self._finish(due[0]))
        return done

    def _finish(self, cycle: Cycle) -> Finished:
        """What the assets of a cycle do, in their order; under the lease."""
        warehouse, settings = self.warehouse, self.settings
        base = ensure_base(warehouse, settings)
        publish_shard(warehouse, cycle, settings, scribe_for(settings))
        given, started = base_data_for(warehouse, settings), time.process_time()
        adapters, is_new = train_cycle(warehouse, cycle, settings.training, given, settings.machine)
        if is_new:
            note_training(warehouse, cycle.key, time.process_time() - started, adapters.counts["steps"])
        merge_cycle(warehouse, cycle, settings.models)
        report = report_of(warehouse, cycle, settings)
        publish(warehouse, cycle.key, report, {MERGED: report["model"]["hash"]})
        return Finished(cycle.key, is_new, decide(warehouse, cycle, base.content_hash), report)

    def recall(
        self, task: str, domain: str, scope: str = "", *, as_of: date = date.max, top_k: int | None = None
    ) -> list[MemoryItem]:
        """The memory items to show an agent before a task, nearest first; by default with all that is known."""
        warehouse = self.warehouse
        if self._memory is None:
            self._memory = LiveMemory(warehouse, self.settings.memory)
        return self._memory.current().recall(task, domain=domain, as_of=as_of, scope=scope, top_k=top_k)

    def status(self) -> dict[str, Any]:
        """What is in the warehouse, as `synde status --json` says it."""
        return status(self.settings)


def _record_of(fields: Mapping[str, Any]) -> Trajectory:
    try:
        return Trajectory.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise InputError(f"{where}: {first['msg']}", expected="the fields of records.Trajectory") from error
