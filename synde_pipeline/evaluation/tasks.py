"""Which trajectories an evaluation replays, and a check that none of them was learned from."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from synde_pipeline.errors import LineageError
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.training.cycles import Cycle


@dataclass(frozen=True)
class EvaluationSet:
    """Successful trajectories of `report` tasks."""

    trajectories: tuple[Trajectory, ...]
    is_time_split: bool
    """Whether all of them are later than everything that the cycle learned from."""
    tools: tuple[str, ...]
    """Tool names seen so far in the domain: in `train` trajectories up to the cycle's last claimed day."""

    @property
    def task_ids(self) -> list[str]:
        """The distinct tasks, sorted."""
        return sorted({item.task_id for item in self.trajectories})


def evaluation_set(trajectories: Iterable[Trajectory], domain: str, last_day: date) -> EvaluationSet:
    """Pick what a cycle is evaluated on: later days if there are any, else all days (then it is not time-split)."""
    mine = sorted((t for t in trajectories if t.domain == domain), key=lambda t: (t.day, t.trace_uid))
    report = [t for t in mine if split_of(t.task_id) == "report" and t.outcome == "success" and t.steps]
    later = [t for t in report if t.day > last_day]
    tools = {step.tool for t in mine if t.day <= last_day and split_of(t.task_id) == "train" for step in t.steps}
    return EvaluationSet(tuple(later or report), bool(later), tuple(sorted(tools)))


def set_of_cycle(trajectories: Iterable[Trajectory], cycle: Cycle, n: int) -> list[Trajectory]:
    """A cycle's task set for retention: successful runs of `n` `report` tasks from the days that it learned from."""
    first = min(date.fromisoformat(day) for day, _, _ in cycle.claims)
    mine = [t for t in trajectories if t.domain == cycle.domain and first <= t.day <= cycle.last_day]
    runs = [t for t in mine if split_of(t.task_id) == "report" and t.outcome == "success" and t.steps]
    return runs_of_tasks(runs, sorted({t.task_id for t in runs})[:n])


def runs_of_tasks(trajectories: Iterable[Trajectory], task_ids: Iterable[str]) -> list[Trajectory]:
    """The runs of some tasks, in their order."""
    wanted = set(task_ids)
    return [t for t in trajectories if t.task_id in wanted]


def check_no_leak(evaluated: Iterable[str], learned: Iterable[str]) -> int:
    """Compare the evaluated tasks with everything that was learned from; returns how many tasks were compared.

    Raises:
        LineageError: a task is on both sides.
    """
    evaluated = set(evaluated)
    both = sorted(evaluated & set(learned))
    if both:
        raise LineageError(
            f"{len(both)} evaluated tasks were learned from, such as {both[0]}", expected="disjoint sets of tasks"
        )
    return len(evaluated)
