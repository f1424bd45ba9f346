"""The tasks of one report in the worlds, tried by all arms: the domain's places, others, few items, retention sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synde_pipeline.evaluation.contents import claimed_places
from synde_pipeline.evaluation.outcomes import NEVER_VISITED, Tried, base_and_trained, other_ks, place_of_model
from synde_pipeline.evaluation.retention import Cell, Measured, cell_of
from synde_pipeline.models.in_play import adapters_in_play
from synde_pipeline.models.registry import Served
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.acting import four_arms, sums_of_run
from synde_pipeline.simulation.agent import Run
from synde_pipeline.simulation.lab import NOTHING, Lab, asked_of, timed
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places, places
from synde_pipeline.simulation.worlds.base import Place, Task
from synde_pipeline.training.cycles import Cycle

N_NEW_PLACES = 24
"""Places that the agent never visits, of all worlds; a report takes its domain's."""


@dataclass(frozen=True)
class Trial:
    """A cycle's candidate and the tasks of one report."""

    lab: Lab
    cycle: Cycle
    config: SimulationConfig
    candidate: Mapping[str, Served]

    @property
    def here(self) -> list[Place]:
        """The domain's places that the agent visits on the cycle's last day."""
        return self._mine(places(self.config, day_number(self.cycle.last_day)))

    @property
    def tasks(self) -> list[Task]:
        """What the report's numbers are about."""
        return self._held_out(self.here, self.config.report_tasks)

    @property
    def elsewhere(self) -> list[Task]:
        """Tasks at places that the agent never visits; none where it has no place at all."""
        there = self._mine(new_places(self.config, N_NEW_PLACES)) if self.here else []
        return self._held_out(there, self.lab.settings.evaluation.side_tasks)

    def sets(self, of: Sequence[Cycle]) -> dict[str, list[Task]]:
        """Each cycle's set for retention: tasks at the places that it learned from; none for foreign logs."""
        n, found = self.lab.settings.evaluation.side_tasks, {}
        for one in of:
            number, claimed = day_number(one.last_day), claimed_places(self.lab.warehouse, one.key)
            there = [p for p in places(self.config, number) if (p.world.domain, p.scope) in claimed]
            if there:
                found[one.key] = held_out_tasks(there, "report", n, number + 1)
        return found

    def rows(self, trained: set[tuple[str, str]]) -> tuple[list[Tried], dict[int, list[Tried]]]:
        """All tasks, tried by all arms, the ones elsewhere last; and the first few by number of memory items.

        Args:
            trained: domain and scope of what the model was made from.
        """
        tasks, lab, seed = [*self.tasks, *self.elsewhere], self.lab, self.config.seed
        shown = self._recall(tasks)
        arms = four_arms(lab, tasks, self.candidate, shown, seed=seed)
        sums = {arm: [sums_of_run(run, found) for run in found.runs] for arm, found in arms.items()}
        asked = [asked_of(task) for task in tasks]
        config = lab.settings.models
        adapters = adapters_in_play(lab.warehouse, self.candidate, lab.base.hash, asked, config)
        known = {place.scope for place in self.here}
        rows = [
            Tried(
                task_id=task.task_id,
                domain=task.place.world.domain,
                scope=task.place.scope,
                place=place_of_model(asked[k].domain, asked[k].scope, trained)
                if task.place.scope in known
                else NEVER_VISITED,
                shown=tuple(item.item_id for item in shown[k]),
                adapter=adapters[k],
                arms={arm: found[k] for arm, found in sums.items()},
            )
            for k, task in enumerate(tasks)
        ]
        return rows, self._by_k(rows, tasks)

    def retained(self, sets: Mapping[str, Sequence[Task]]) -> Measured | None:
        """The candidate on each set, without memory, and the base on the cycle's own."""
        tasks = [task for mine in sets.values() for task in mine]
        if self.cycle.key not in sets:
            return None
        act, seed = self.lab.act, self.config.seed
        runs = iter(act(tasks, served=self.candidate, seed=seed, label="retention"))
        row = {key: _cell([next(runs) for _ in mine]) for key, mine in sets.items()}
        base = act(sets[self.cycle.key], seed=seed, label="retention of the base")
        return Measured("success", row, _cell(base))

    def _by_k(self, rows: Sequence[Tried], tasks: Sequence[Task]) -> dict[int, list[Tried]]:
        lab, config = self.lab, self.lab.settings
        few, rows = tasks[: min(config.evaluation.side_tasks, len(self.tasks))], list(rows)
        pairs = {0: ("none", "weights"), config.memory.top_k: ("context", "dual")}
        found = {
            k: [base_and_trained(row, row.arms[a], row.arms[b]) for row, _ in zip(rows, few, strict=False)]
            for k, (a, b) in pairs.items()
        }
        for k in other_ks(config) if few else ():
            shown = self._recall(few, top_k=k)
            both = []
            for served in (NOTHING, self.candidate):
                label = f"with {k} items"
                done = timed(lab.act, few, memory=shown, served=served, seed=self.config.seed, label=label)
                both.append([sums_of_run(run, done) for run in done.runs])
            found[k] = [base_and_trained(row, *pair) for row, pair in zip(rows, zip(*both, strict=True), strict=False)]
        return found

    def _recall(self, tasks: Sequence[Task], top_k: int | None = None) -> list[tuple[MemoryItem, ...]]:
        return self.lab.recall(tasks, self.cycle.last_day, top_k)

    def _mine(self, where: Sequence[Place]) -> list[Place]:
        return [place for place in where if place.world.domain == self.cycle.domain]

    def _held_out(self, where: list[Place], n: int) -> list[Task]:
        return held_out_tasks(where, "report", n, day_number(self.cycle.last_day) + 1)


def _cell(runs: Sequence[Run]) -> Cell:
    return cell_of((run.task.place.scope, float(run.is_success), 1.0) for run in runs)
