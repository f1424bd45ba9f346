"""The closed loop: each simulated day the agent acts, its logs land, the pipeline learns, and the next day uses it.

The agent's executions reach the pipeline through `ExecutionLogger` and landing, like anybody's. How a day is
materialised is handed in (`run`), so this module knows nothing of Dagster. What is shown to people is in `final`.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.evaluation.report import without_times
from synde_pipeline.logs.logger import ExecutionLogger, LandingWriter
from synde_pipeline.models.registry import champion
from synde_pipeline.records import content_hash
from synde_pipeline.settings import Settings, SimulationConfig
from synde_pipeline.simulation.acting import PlaceRows, four_arms, rows_for_json, summary, sums_of
from synde_pipeline.simulation.agent import Run
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.tasks import date_of, held_out_tasks, places, tasks_of_day
from synde_pipeline.storage import Header, Warehouse, read_json
from synde_pipeline.training.buffer import read_buffer
from synde_pipeline.training.trust import Trust

DAYS = "demo_days"
"""Artefact with one small JSON a simulated day: what the agent did, and what it could do after the day."""
STAGING = "staging"
FILE = "simulated-agent"
SOURCE = "sim"
MODEL = "embedded base"
_SECONDS_PER_EPISODE = 600
_SECONDS_PER_STEP = 20

RunDays = Callable[[Sequence[Any]], Any]
"""Materialises days and trains what is due: `defs.run.run` with settings and progress bound."""


@dataclass(frozen=True)
class DayRow:
    """One simulated day, as the progress table shows it."""

    day: int
    n: int
    n_success: int
    """Of the day's own episodes, with memory and champion of the day before."""
    memory_items: int
    waiting: dict[str, int]
    """Examples with a training signal that no cycle has claimed, by domain."""
    champion: dict[str, str]
    """Domain -> cycle that was promoted last."""
    arms: dict[str, dict[str, Any]]
    """What the agent can do after the day, on held-out tasks: the four arms."""


@dataclass
class Loop:
    """A simulation in its warehouse."""

    settings: Settings
    run: RunDays

    @property
    def warehouse(self) -> Warehouse:
        """Where all of it lies."""
        return Warehouse(self.settings.warehouse)

    @property
    def config(self) -> SimulationConfig:
        """The worlds' settings."""
        assert self.settings.simulation is not None  # noqa: S101 - only the demo makes a loop
        return self.settings.simulation

    def day(self, number: int) -> tuple[DayRow, bool]:
        """Live one day, unless it was lived; returns its row, and whether anything had to be done.

        Every phase is published whole and skipped when it is there, so a killed day goes on where it was; an
        interrupted roll-out starts again from the day's beginning, with the same memory and champion.
        """
        held = self.warehouse.header(DAYS, str(date_of(number)))
        if held is not None:
            return DayRow(**read_json(self.warehouse.folder(DAYS, held.key) / "day.json")["row"]), False
        if not self._landed(number).exists():
            self._act(number)
        self.run([date_of(number)])
        return self._publish(number), True

    # -- acting -------------------------------------------------------------------------------------------------

    def _landed(self, number: int) -> Path:
        return self.warehouse.path("landing", str(date_of(number))) / f"{FILE}.jsonl"

    def _act(self, number: int) -> None:
        """Roll a day out, log it into staging, and publish the whole day by one rename."""
        lab = Lab(self.warehouse, self.settings)
        tasks = tasks_of_day(self.config, number)
        shown = lab.recall(tasks, date_of(number - 1))
        served = champion(self.warehouse).domains
        runs = lab.act(tasks, memory=shown, served=served, seed=self.config.seed, label=f"day {number}")
        staging = self.warehouse.root / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        log_runs(runs, number, staging)
        written = staging / f"day={date_of(number)}" / f"{FILE}.jsonl"
        target = self._landed(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.parent.parent.chmod(0o700)
        written.replace(target)
        shutil.rmtree(staging, ignore_errors=True)

    # -- after the day ------------------------------------------------------------------------------------------

    def _publish(self, number: int) -> DayRow:
        """Measure what the agent can do now, and publish the day's row."""
        lab = Lab(self.warehouse, self.settings)
        today = date_of(number)
        tasks = held_out_tasks(places(self.config, number), "report", self.config.report_tasks, number + 1)
        served = champion(self.warehouse).domains
        arms = four_arms(lab, tasks, served, lab.recall(tasks, today), seed=self.config.seed)
        rows: PlaceRows = {arm: sums_of(arms[arm]) for arm in ARMS}
        buffer = read_buffer(self.warehouse, trust=Trust.now(self.warehouse, self.settings.memory))
        raw = self.warehouse.header("raw_logs", str(today))
        assert raw is not None  # noqa: S101 - the day was materialised just now
        row = DayRow(
            day=number,
            n=raw.counts["rows_out"],
            n_success=raw.counts["successes"],
            memory_items=len(lab.memory.bank(today).items),
            waiting={domain: buffer.n_signals(domain) for domain in sorted(buffer.unclaimed)},
            champion={domain: served.cycle for domain, served in champion(self.warehouse).domains.items()},
            arms=without_times(summary(rows, self.settings.evaluation)["arms"]),
        )
        held = {"row": asdict(row), "places": rows_for_json(rows)}
        publish_json(self.warehouse, DAYS, str(today), ("day.json", held), {"raw_logs": raw.content_hash})
        return row


def publish_json(
    warehouse: Warehouse, artefact: str, key: str, document: tuple[str, Any], inputs: dict[str, str]
) -> Header:
    """Publish one JSON document (file name, value); measured times are no part of its content hash."""
    name, value = document
    header = Header(artefact=artefact, key=key, content_hash=content_hash(without_times(value)), inputs=inputs)

    def write(folder: Path) -> None:
        (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False), "utf-8")

    return warehouse.publish_folder(artefact, key, write, lambda _: header)


# -- logging ---------------------------------------------------------------------------------------------------------


class _Clock:
    """The simulated time of one episode: each look is a step later."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        seen = self.now
        self.now += timedelta(seconds=_SECONDS_PER_STEP)
        return seen


def log_runs(runs: Sequence[Run], number: int, landing: Path) -> None:
    """Write a day's executions through the public SDK: a simulated clock, and ids from seed, day and episode."""
    midnight = datetime.combine(date_of(number), time(), UTC)
    gap = min(_SECONDS_PER_EPISODE, 86_400 // max(len(runs), 1))
    with LandingWriter(landing, file_name=FILE) as writer:
        for episode, run in enumerate(runs):
            place = run.task.place
            log = ExecutionLogger(
                run.task.text,
                domain=place.world.domain,
                task_id=run.task.task_id,
                scope=place.scope,
                source=SOURCE,
                model=MODEL,
                shown_memory=run.shown,
                landing=writer,
                clock=_Clock(midnight + timedelta(seconds=gap * episode)),
                id_factory=lambda episode=episode, place=place: f"{place.seed}-{number:04d}-{episode:04d}",
            )
            with log:
                for turn in run.turns:
                    action = (turn.tool, turn.arguments)
                    log.log_step(turn.state, action, turn.reasoning, turn.result, success=turn.success)
                log.set_outcome("success" if run.is_success else "failure", reward=float(run.is_success))
