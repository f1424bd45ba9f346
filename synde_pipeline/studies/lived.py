"""A history for studies of the slow layer: sites of one seed, lived four at a time, one training cycle for each four.

The agent acts with memory alone, so one history serves every way to train: only what is made of its logs differs. The
daily chain is called directly, without Dagster.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from synde_pipeline.base_model import pin_given
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, Settings, SimulationConfig
from synde_pipeline.simulation.demo import defaults
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.loop import log_runs
from synde_pipeline.simulation.tasks import date_of, places
from synde_pipeline.simulation.worlds.base import Place, Task
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.daily import publish_examples

DOMAIN = "web"
SITES_PER_CYCLE = 4
DAYS_PER_CYCLE = 2
"""The first day explores with an empty memory of its sites, the second acts on what the first taught."""
EPISODES_PER_DAY = 96


@dataclass(frozen=True)
class History:
    """Logs of some cycles in a home, everything up to the frozen manifests."""

    settings: Settings

    @property
    def warehouse(self) -> Warehouse:
        """Where all of it lies."""
        return Warehouse(self.settings.warehouse)

    @property
    def sites(self) -> list[Place]:
        """All sites, those of the first cycle first."""
        return sites(self.config)

    @property
    def config(self) -> SimulationConfig:
        """The world's settings."""
        assert self.settings.simulation is not None  # noqa: S101 - made by `history`
        return self.settings.simulation

    @property
    def last_day(self) -> date:
        """The last lived day."""
        return max(cycle.last_day for cycle in self.cycles)

    @property
    def cycles(self) -> list[Cycle]:
        """The frozen cycles."""
        return cycles(self.warehouse)

    def of_cycle(self, number: int) -> list[Place]:
        """Sites of a cycle, counted from 1."""
        return self.sites[(number - 1) * SITES_PER_CYCLE : number * SITES_PER_CYCLE]

    @contextmanager
    def branch(self) -> Iterator["History"]:
        """A copy of the history for the time of a block, to train in."""
        with TemporaryDirectory() as folder:
            branch = History(self.settings.model_copy(update={"home": Path(folder)}))
            shutil.copytree(self.settings.warehouse, branch.settings.warehouse)
            yield branch


def sites(config: SimulationConfig) -> list[Place]:
    """The sites of a seed, in the order in which they are lived."""
    return [place for place in places(config, 1) if place.world.domain == DOMAIN]


def history(home: Path, seed: int, n_cycles: int) -> History:
    """Live a seed's history in `home`, as far as it does not lie there yet."""
    n_sites = n_cycles * SITES_PER_CYCLE
    config = SimulationConfig(seed=seed, places=2 * n_sites)  # half of all places are sites
    settings = defaults(seed).model_copy(
        update={"home": home, "simulation": config, "buffer": BufferConfig(threshold=1)}
    )
    lived = History(settings)
    pin_given(lived.warehouse, settings)
    for number in range(1 + len(lived.cycles), n_cycles + 1):
        first = 1 + (number - 1) * DAYS_PER_CYCLE
        for day in range(first, first + DAYS_PER_CYCLE):
            live(lived, day, tasks_of(lived.of_cycle(number), day))
        freeze_cycles(lived.warehouse, settings.buffer)
    return lived


def tasks_of(where: Sequence[Place], day: int) -> list[Task]:
    """A day's tasks: every site in turn, every thing in turn, each task new."""
    things = where[0].world.things
    first = (day - 1) * EPISODES_PER_DAY
    numbers = range(first, first + EPISODES_PER_DAY)
    return [Task(where[k % len(where)], things[k // len(where) % len(things)], k, day) for k in numbers]


def live(lived: History, number: int, tasks: Sequence[Task]) -> None:
    """Act one day with memory, and let its logs become memory and examples."""
    warehouse, settings, today = lived.warehouse, lived.settings, date_of(number)
    lab = Lab(warehouse, settings)
    shown = lab.recall(tasks, date_of(number - 1))
    runs = lab.act(tasks, memory=shown, seed=lived.config.seed, label=f"day {number}")
    landing = warehouse.root / "landing"
    shutil.rmtree(landing / f"day={today}", ignore_errors=True)  # of a day that was interrupted
    log_runs(runs, number, landing)
    publish_raw_logs(warehouse, today)
    publish_reflections(warehouse, today)
    publish_deltas(warehouse, today, settings.memory)
    publish_memory(warehouse, today)
    publish_examples(warehouse, today, settings)
