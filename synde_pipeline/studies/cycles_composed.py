"""How adapters of several cycles stand together: every way to compose, on the same logs, with equally many steps.

    python -m synde_pipeline.studies.cycles_composed FOLDER SEED...

Six cycles of four sites (`lived`). After each, the model that the pipeline would serve acts on tasks that no day handed
out: without memory and with it, on all sites, on the first cycle's and the last one's, and on sites that nothing was
learned about with every fact in memory (the probe of general skill). All training, routing and merging is the
pipeline's own.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.models.registry import Served, promote, served_of
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.simulation.acting import success_of, sums_of
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.lab import NOTHING, Lab, timed
from synde_pipeline.simulation.tasks import held_out_tasks, new_places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.lived import DOMAIN, N_CYCLES, History, history
from synde_pipeline.training.daily import publish_shard

N_TASKS = 480
N_PART = 240
"""Tasks on the sites of one cycle, and on those of the probe."""
N_NEW = 96
"""Places behind the probe; half of them are sites."""


@dataclass(frozen=True)
class Way:
    """One way to compose."""

    name: str
    config: TrainingConfig
    last_only: bool = False
    """Whether one adapter is trained at the end, with as many steps as all of them together."""


def ways() -> list[Way]:
    """The default and what it is compared with: equal logs, batches and steps."""
    world = PRESETS["world"]
    steps = (world.max_steps or 0) * N_CYCLES

    def one(name: str, *, last_only: bool = False, **knobs: Any) -> Way:
        alone = {"preset": name, "anchors": 0.0, "scopes_per_adapter": 0, "base_replay": 0.25}
        return Way(name, world.model_copy(update={**alone, **knobs}), last_only)

    return [
        Way("routed", world),
        one("sequential", composition="sequential"),
        one("sequential, no base replay", composition="sequential", base_replay=0.0),
        one("joint, rank 4", composition="joint", max_steps=steps, last_only=True),
        one("joint, rank 1", composition="joint", joint_rank=1, max_steps=steps, last_only=True),
        one("null space", composition="null_space"),
        one("independent", composition="independent"),
    ]


@dataclass
class Tasks:
    """What every way is tried on."""

    every: list[Task]
    first: list[Task]
    last: list[Task]
    probe: list[Task]
    shown: list[tuple[MemoryItem, ...]]
    """For `every`: what memory recalls."""
    told: list[tuple[MemoryItem, ...]]
    """For `probe`: every fact."""

    @classmethod
    def of(cls, lived: History, lab: Lab, split: str) -> "Tasks":
        """Tasks of a split on a history's sites, on the day after the last one."""
        day = N_CYCLES * 2 + 1
        unseen = [place for place in new_places(lived.config, N_NEW) if place.world.domain == DOMAIN]
        where = (lived.sites, lived.of_cycle(1), lived.of_cycle(N_CYCLES), unseen)
        sizes = (N_TASKS, N_PART, N_PART, N_PART)
        every, first, last, probe = (
            held_out_tasks(places, split, n, day)  # type: ignore[arg-type]
            for places, n in zip(where, sizes, strict=True)
        )
        told = [hints(task, GATES[1], lived.config.seed) for task in probe]
        return cls(every, first, last, probe, lab.recall(every, lived.last_day), told)


@dataclass
class Trial:
    """A history and what is tried on it."""

    lived: History
    lab: Lab
    tasks: Tasks

    def measure(self, way: Way) -> dict[str, Any]:
        """Train one way in a branch of its own and measure it; every cell has its standard error and n."""
        found: dict[str, Any] = {}
        last: dict[str, Served] = {}
        branch = self.lived.branch(way.config.preset.replace(",", "").replace(" ", "-"))
        for number, served in trained(branch, way):
            last = {DOMAIN: served}
            if number == 1:
                found["first cycle's sites, after it"] = self.cell(branch, last, self.tasks.first)
        return {**found, **self.cells(branch, last)}

    def cells(self, branch: History, served: Mapping[str, Served]) -> dict[str, Any]:
        """Everything that is measured after the last cycle."""
        return {
            "first cycle's sites": self.cell(branch, served, self.tasks.first),
            "last cycle's sites": self.cell(branch, served, self.tasks.last),
            "weights": self.cell(branch, served, self.tasks.every),
            "dual": self.cell(branch, served, self.tasks.every, self.tasks.shown),
            "probe": self.cell(branch, served, self.tasks.probe, self.tasks.told),
        }

    def cell(
        self,
        branch: History,
        served: Mapping[str, Served],
        tasks: Sequence[Task],
        memory: Sequence[tuple[MemoryItem, ...]] | None = None,
    ) -> dict[str, Any]:
        """Success on some tasks, clustered by site."""
        lab = Lab(branch.warehouse, branch.settings)
        rows = sums_of(timed(lab.act, tasks, memory=memory, served=served, seed=5, label="tasks"))
        return success_of(rows, branch.settings.evaluation)


def trained(branch: History, way: Way) -> Iterator[tuple[int, Served]]:
    """Train a branch's cycles one after the other, each accepted; yields what would be served after each."""
    warehouse, settings = branch.warehouse, branch.settings.model_copy(update={"training": way.config})
    lab = Lab(warehouse, settings)
    data = CorpusData(lab.base.tokenizer, lab.encoder)
    for cycle in branch.cycles:
        if way.last_only and cycle.number < N_CYCLES:
            continue
        publish_shard(warehouse, cycle, settings)
        train_cycle(warehouse, cycle, way.config, data)
        model = merge_cycle(warehouse, cycle)
        promote(warehouse, cycle, model, "the study accepts every cycle")
        yield cycle.number, served_of(model)


def study(folder: Path, seed: int, split: str = "report") -> dict[str, dict[str, Any]]:
    """All ways on one seed, by name; the base alone comes first.

    Args:
        folder: holds the histories; what lies there already is used again.
        seed: of sites, tasks and sampling.
        split: of the tasks that are tried; `gate` for choosing knobs.
    """
    with one_thread():
        lived = history(folder, seed)
        lab = Lab(lived.warehouse, lived.settings)
        trial = Trial(lived, lab, Tasks.of(lived, lab, split))
        rows = {"base": trial.cells(lived, NOTHING)}
        for way in ways():
            rows[way.name] = trial.measure(way)
    return rows


def table(results: Sequence[Mapping[str, dict[str, Any]]]) -> str:
    """One line a way: the mean over seeds, and each seed's value where there are several."""
    columns = list(results[0]["routed"])
    lines = [" | ".join(["way", *columns])]
    for name in results[0]:
        cells = []
        for column in columns:
            values = [one[name][column]["success"] for one in results if column in one[name]]
            mean = sum(values) / len(values) if values else None
            each = " ".join(f"{value:.3f}" for value in values)
            cells.append("-" if mean is None else f"{mean:.3f} ({each})")
        lines.append(" | ".join([name, *cells]))
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("expected: a folder for the histories, and one seed or more")
    found = [study(Path(sys.argv[1]), int(word)) for word in sys.argv[2:]]
    sys.stdout.write(json.dumps(found) + "\n" + table(found) + "\n")
