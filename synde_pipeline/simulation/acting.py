"""Evaluation by acting: four arms on tasks that were never handed out, and the gate's comparison with the champion.

Success is the environment's verdict. Places are the independent units: runs on one place share its conventions and its
memory, so intervals are clustered by place (design.md law 12).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synde_pipeline.evaluation.outcomes import FEWEST_PLACES, Tried
from synde_pipeline.evaluation.stats import Estimate, estimate, paired_difference, resamples, verdict
from synde_pipeline.evaluation.summary import ARMS, summarise_ratios
from synde_pipeline.models.registry import Served
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.simulation.agent import Run, by_place
from synde_pipeline.simulation.lab import NOTHING, Lab, Timed, timed
from synde_pipeline.simulation.worlds.base import Task

WITH_MEMORY = ("context", "dual")
WITH_WEIGHTS = ("weights", "dual")


@dataclass(frozen=True)
class PlaceSums:
    """Sums over the runs of one arm on one place."""

    scope: str
    n_success: int
    n_tasks: int
    n_steps: int
    n_context_tokens: int
    """Tokens of memory in the prompts, summed over runs."""
    seconds: float
    """CPU time: the arm's, shared out by runs; no part of any content hash."""


PlaceRows = dict[str, list[PlaceSums]]
"""Arm -> one row a place, same places in the same order in every arm."""


def sums_of(timed_runs: Timed) -> list[PlaceSums]:
    """Runs of one arm -> one row a place, in the order of scopes."""
    each = timed_runs.cpu_s / max(len(timed_runs.runs), 1)
    return [
        PlaceSums(
            scope,
            n_success=sum(run.is_success for run in runs),
            n_tasks=len(runs),
            n_steps=sum(len(run.turns) for run in runs),
            n_context_tokens=sum(run.n_context_tokens for run in runs),
            seconds=each * len(runs),
        )
        for scope, runs in by_place(timed_runs.runs)
    ]


def sums_of_run(run: Run, among: Timed) -> dict[str, Any]:
    """Sums of a single run, as `Tried` holds them; its CPU time is the arm's, shared out by runs."""
    return {
        "n_success": int(run.is_success),
        "n_tasks": 1,
        "n_steps": len(run.turns),
        "n_context_tokens": run.n_context_tokens,
        "seconds": among.cpu_s / max(len(among.runs), 1),
    }


def summary_of_tasks(rows: Sequence[Tried], config: EvaluationConfig) -> dict[str, Any]:
    """As `summary`, from rows of single tasks."""
    by_unit: dict[str, list[Tried]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.unit):
        by_unit[row.unit].append(row)
    arms = rows[0].arms if rows else ARMS
    return summary({arm: [_added(mine, arm) for mine in by_unit.values()] for arm in arms}, config)


def _added(rows: Sequence[Tried], arm: str) -> PlaceSums:
    sums = [row.arms[arm] for row in rows]
    return PlaceSums(rows[0].scope, **{name: sum(one[name] for one in sums) for name in sums[0]})


def four_arms(
    lab: Lab,
    tasks: Sequence[Task],
    served: Mapping[str, Served],
    shown: Sequence[tuple[MemoryItem, ...]],
    arms: Sequence[str] = ARMS,
    *,
    seed: int = 0,
) -> dict[str, Timed]:
    """Let every arm try the same tasks with the same chances.

    Args:
        lab: base and memory.
        tasks: of splits that nothing was learned from.
        served: domain -> what the arms with weights use there.
        shown: the memory of each task, for the arms with memory.
        arms: which of the four.
        seed: of sampling.
    """
    return {
        arm: timed(
            lab.act,
            tasks,
            memory=shown if arm in WITH_MEMORY else None,
            served=served if arm in WITH_WEIGHTS else NOTHING,
            seed=seed,
            label=arm,
        )
        for arm in arms
    }


def summary(rows: PlaceRows, config: EvaluationConfig) -> dict[str, Any]:
    """Arms and their paired differences from `none`, with intervals clustered by place."""
    ratios = {arm: ratios_of(sums) for arm, sums in rows.items()}
    costs = {arm: _costs(sums) if sums else {"n": 0} for arm, sums in rows.items()}
    found = summarise_ratios(ratios, costs, config.model_copy(update={"min_tasks": FEWEST_PLACES}))
    return {**found, "arms": {arm: _flat(values) for arm, values in found["arms"].items()}}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """An arm with plain numbers under the contract's names (design.md), and the intervals beside them."""
    if "note" in values:
        return values
    success, steps = values["success"], values["steps"]
    plain = {"success": success["value"], "se": success["se"], "steps": steps["value"]}
    return {**values, **plain, "intervals": {"success": success, "steps": steps}}


def ratios_of(rows: Sequence[PlaceSums]) -> dict[str, tuple[Any, Any]]:
    """Metric -> numerator and denominator per place."""
    tasks = _column(rows, "n_tasks")
    return {"success": (_column(rows, "n_success"), tasks), "steps": (_column(rows, "n_steps"), tasks)}


def _column(rows: Sequence[PlaceSums], name: str) -> Any:
    return np.array([getattr(row, name) for row in rows], np.float64)


def _costs(rows: Sequence[PlaceSums]) -> dict[str, Any]:
    n_tasks = sum(row.n_tasks for row in rows)
    return {
        "n": n_tasks,
        "n_places": len(rows),
        "context_tokens": round(sum(row.n_context_tokens for row in rows) / n_tasks, 2),
        "latency_ms": round(1000 * sum(row.seconds for row in rows) / n_tasks, 3),
    }


def success_by_place(rows: Sequence[PlaceSums], config: EvaluationConfig) -> Estimate:
    """Success of one arm, clustered by place."""
    return estimate(*ratios_of(rows)["success"], resamples(len(rows), config), config.confidence)


def success_of(rows: Sequence[PlaceSums], config: EvaluationConfig) -> dict[str, Any]:
    """The same for tables: rounded, with the numbers of tasks and places that it rests on."""
    found = success_by_place(rows, config)
    rounded = {name: round(value, 4) for name, value in asdict(found).items() if name != "n"}
    return {"success": rounded.pop("value"), **rounded, "n": sum(row.n_tasks for row in rows), "places": len(rows)}


def compare(new: Sequence[PlaceSums], old: Sequence[PlaceSums], config: EvaluationConfig) -> tuple[Estimate, str]:
    """Success of one model minus another's on the same tasks, clustered by place, and the verdict."""
    draws = resamples(len(new), config)
    found = paired_difference(ratios_of(new)["success"], ratios_of(old)["success"], draws, config.confidence)
    return found, verdict(found, lower_is_better=False)


def rows_for_json(rows: PlaceRows) -> list[dict[str, Any]]:
    """Places with their arms, as a report stores them."""
    arms = list(rows)
    return [
        {"place": row.scope, "arms": {arm: asdict(rows[arm][k]) for arm in arms}} for k, row in enumerate(rows[arms[0]])
    ]


def rows_from_json(places: Sequence[dict[str, Any]]) -> PlaceRows:
    """The way back."""
    arms = list(places[0]["arms"]) if places else list(ARMS)
    return {arm: [PlaceSums(**place["arms"][arm]) for place in places] for arm in arms}
