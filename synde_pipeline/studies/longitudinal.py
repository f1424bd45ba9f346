"""The long history that several studies read: about a thousand logs, over 30 days in which a place opens every day.

What is kept of each day: the four arms on held-out tasks by place, what users of the deployed agent thought, and how
large memory and adapters have become. Drifting histories are read by the same words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.serve_as import MERGED
from synde_pipeline.records import Trajectory
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.acting import PlaceSums, rows_from_json
from synde_pipeline.simulation.loop import DAYS, DayRow
from synde_pipeline.simulation.tasks import date_of
from synde_pipeline.simulation.worlds.base import SPARE_STEPS
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.paired import merged
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.cycles import cycles

N_DAYS = 30
EPISODES = 34
"""A day: 30 days make the thousand logs of section 10.3."""
FULL = {"places": 8, "new_places_per_day": 1, "episodes_per_day": EPISODES, "gate_tasks": 36, "report_tasks": 72}
QUICK = {"places": 4, "new_places_per_day": 1, "episodes_per_day": 32, "gate_tasks": 32, "report_tasks": 24}
PATIENCE = 0.5
"""Share of a solved task's score that users take off when the agent needed every action it had."""


@dataclass(frozen=True)
class Day:
    """One day of a history."""

    number: int
    arms: Mapping[str, Sequence[PlaceSums]]
    """After the day, on held-out tasks at every place that is open."""
    scores: Mapping[str, Sequence[float]]
    """Place -> what the deployed agent's users thought, one an episode (`score`)."""
    n_success: int
    n_logs: int
    memory_items: int
    memory_tokens: int
    """Of all active items together."""
    served_bytes: int
    """Of the adapters that the champion uses, as files."""
    stored_bytes: int
    """Of the adapters of all cycles so far, the replaced and the rejected ones too."""
    n_adapters: int

    def success(self, arm: str, scopes: set[str] | None = None) -> float | None:
        """Share of held-out tasks that an arm solves, at some places or at all."""
        rows = [row for row in self.arms[arm] if scopes is None or row.scope in scopes]
        n = sum(row.n_tasks for row in rows)
        return sum(row.n_success for row in rows) / n if n else None

    def tokens(self, arm: str) -> float:
        """Context tokens of a task."""
        return sum(row.n_context_tokens for row in self.arms[arm]) / sum(row.n_tasks for row in self.arms[arm])

    @property
    def scopes(self) -> set[str]:
        """Places that are open."""
        return {row.scope for row in self.arms["none"]}


def plan(run: StudyRun) -> tuple[tuple[int, ...], int, dict[str, int]]:
    """Seeds, days and the world's knobs of the long history."""
    return ((1,), 4, QUICK) if run.is_quick else ((1, 2, 3), N_DAYS, FULL)


def laboratory(run: StudyRun, seed: int) -> tuple[Laboratory, list[DayRow]]:
    """The laboratory of the long history."""
    _, days, knobs = plan(run)
    return lived(run, seed, days, simulation=dict(knobs))


def history(run: StudyRun, seed: int) -> list[Day]:
    """The long history of a seed, lived or read."""
    _, days, knobs = plan(run)
    return history_of(run, seed, days, knobs)


def history_of(run: StudyRun, seed: int, days: int, knobs: Mapping[str, Any]) -> list[Day]:
    """A history with these knobs of the world, lived or read."""
    key = {"history": dict(knobs), "seed": seed, "days": days}
    found = run.part(key, lambda: _days(*lived(run, seed, days, simulation=dict(knobs))))
    return [_day(values) for values in found]


def _days(mine: Laboratory, rows: Sequence[DayRow]) -> list[dict[str, Any]]:
    warehouse, found, seen = mine.lab.warehouse, [], set()
    for row in rows:
        today = date_of(row.day)
        logs = load_raw_logs(warehouse, today)
        stored = read_json(warehouse.folder(DAYS, str(today)) / "day.json")
        bank = _served(warehouse, row.champion)
        seen |= _cycles_until(warehouse, today)
        items = mine.lab.memory.bank(today).items
        found.append(
            {
                "number": row.day,
                "places": stored["places"],
                "scores": _scores(logs, mine.config),
                "n_success": row.n_success,
                "n_logs": row.n,
                "memory_items": row.memory_items,
                "memory_tokens": sum(map(n_tokens, items)),
                "served_bytes": sum(_size(warehouse, cycle, folder) for cycle, folder in bank),
                "stored_bytes": sum(_size(warehouse, cycle, "") for cycle in seen),
                "n_adapters": len(bank),
            }
        )
    return found


def _day(values: dict[str, Any]) -> Day:
    return Day(arms=rows_from_json(values["places"]), **{k: value for k, value in values.items() if k != "places"})


def _served(warehouse: Warehouse, champion: Mapping[str, str]) -> list[tuple[str, str]]:
    """Cycle and folder of each adapter that the champion of a day uses."""
    found = []
    for cycle in champion.values():
        table = warehouse.folder(MERGED, cycle) / "bank.json"
        found += [(row["cycle"], row["folder"]) for row in read_json(table)] if table.exists() else []
    return found


def _cycles_until(warehouse: Warehouse, today: date) -> set[str]:
    """Cycles that were trained by the end of a day."""
    return {
        cycle.key for cycle in cycles(warehouse) if cycle.last_day <= today and warehouse.header(ADAPTERS, cycle.key)
    }


def _size(warehouse: Warehouse, cycle: str, folder: str) -> int:
    root = warehouse.folder(ADAPTERS, cycle) / folder
    return sum(path.stat().st_size for path in root.rglob("adapter_model.safetensors"))


def _scores(logs: Sequence[Trajectory], config: SimulationConfig) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for log in logs:
        value = score(len(log.steps), config, is_success=log.outcome == "success")
        found.setdefault(log.scope, []).append(value)
    return found


def score(n_steps: int, config: SimulationConfig, *, is_success: bool) -> float:
    """What a simulated user gives an execution, 0 to 1: nothing for a failure, less for a success that took long."""
    if not is_success:
        return 0.0
    spare = n_steps - (config.n_facts + 1)
    return 1.0 - PATIENCE * spare / SPARE_STEPS


def days_for_json(days: Sequence[Day]) -> list[dict[str, Any]]:
    """A history for `report.json`: without places."""
    rows = []
    for day in days:
        plain = {name: value for name, value in asdict(day).items() if name not in ("arms", "scores")}
        rows.append({**plain, **{arm: day.success(arm) for arm in day.arms}, "satisfaction": satisfaction([day])})
    return rows


def satisfaction(days: Sequence[Day]) -> float:
    """Mean score of the users of some days."""
    scores = [score for day in days for held in day.scores.values() for score in held]
    return sum(scores) / len(scores)


def opened(days: Sequence[Day]) -> dict[str, int]:
    """The day on which each place was first open."""
    found: dict[str, int] = {}
    for day in days:
        for scope in day.scopes:
            found.setdefault(scope, day.number)
    return found


def window(
    every: Sequence[Day], days: Sequence[Day], arm: str, keep: Callable[[Day, str], bool] = lambda *_: True
) -> list[PlaceSums]:
    """Sums of an arm over some days, one row for each place of the whole history.

    Args:
        every: the history.
        days: of it.
        arm: one of the four.
        keep: whether a place counts on a day.
    """
    return merged([row for day in days for row in day.arms[arm] if keep(day, row.scope)], opened(every))


def users(every: Sequence[Day], days: Sequence[Day]) -> list[tuple[float, float]]:
    """Sum and number of the scores of some days, one pair for each place of the whole history."""
    found = {scope: [0.0, 0.0] for scope in sorted(opened(every))}
    for scope, score in ((scope, score) for day in days for scope, held in day.scores.items() for score in held):
        found[scope][0] += score
        found[scope][1] += 1
    return [(total, n) for total, n in found.values()]


def lines(labs: Sequence[Sequence[Day]]) -> list[dict[str, Any]]:
    """Longitudinal rows: means over seeds."""
    lines = []
    for days in zip(*labs, strict=True):
        line: dict[str, Any] = {"day": days[0].number, "places": len(days[0].scopes)}
        line |= {arm: float(np.mean([day.success(arm) or 0.0 for day in days])) for arm in ARMS}
        scores = [score for day in days for held in day.scores.values() for score in held]
        line |= {
            "deployed": sum(day.n_success for day in days) / sum(day.n_logs for day in days),
            "users' score": sum(scores) / len(scores),
            "n scores": len(scores),
            "items": float(np.mean([day.memory_items for day in days])),
            "context tokens": float(np.mean([day.tokens("dual") for day in days])),
        }
        lines.append(line)
    return lines
