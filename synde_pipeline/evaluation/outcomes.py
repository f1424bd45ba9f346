"""What every arm did on every task: comparisons of arms, who was harmed and who was helped, tables by group.

One row is one task, with sums of `replay_eval` (logs replayed) or of `simulation.acting` (tried in the worlds). Tasks
at one place share its conventions and its memory, so in the worlds intervals are clustered by place, else by task.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from synde_pipeline.evaluation.stats import mcnemar, paired_difference, resamples, verdict
from synde_pipeline.evaluation.summary import ARMS, METRICS, Ratios, summarise_ratios
from synde_pipeline.settings import EvaluationConfig, Settings

MEASURES = {
    "success": ("n_success", "n_tasks"),
    "nll": ("nll", "n_tokens"),
    "tool_top1": ("n_tool_top1", "n_steps"),
    "steps": ("n_steps", "n_tasks"),
}
"""Metric -> the sums of a task that it is a ratio of; a row without one of them does not measure it."""
PAIRS = (("context", "none"), ("weights", "none"), ("dual", "none"), ("dual", "context"), ("dual", "weights"))
"""Arm, and the one that it is compared with."""
FEWEST_PLACES = 2
"""Places are tried often: a handful of them is evidence, unlike a handful of tasks."""
TRAINED, UNTRAINED, NEVER_VISITED, NAMELESS = "trained on", "not trained on", "never visited", "names no place"


@dataclass(frozen=True)
class Tried:
    """One task, tried by every arm with the same chances."""

    task_id: str
    domain: str
    scope: str
    place: str
    """Whether the model knows its place: one of `TRAINED`, `UNTRAINED`, `NEVER_VISITED`, `NAMELESS`."""
    shown: tuple[str, ...]
    """Ids of the memory items that the arms with memory were shown."""
    adapter: str
    """The one that the arms with weights used: `cycle/folder`, or `cycle` of a merged model; empty for none."""
    arms: dict[str, dict[str, Any]]
    """Arm -> its sums."""

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Tried":
        """As a report stores it."""
        return cls(**{**value, "shown": tuple(value["shown"])})

    def for_json(self) -> dict[str, Any]:
        """For a report."""
        return asdict(self)

    @property
    def unit(self) -> str:
        """What is independent of other rows: the place in the worlds, else the task."""
        return f"{self.domain}/{self.scope}" if is_acted([self]) else self.task_id

    def score(self, arm: str) -> float:
        """What a paired test counts: whether it was solved, or at how many steps the logged tool ranked first."""
        sums = self.arms[arm]
        return sums["n_success"] if "n_success" in sums else sums["n_tool_top1"]


def place_of_model(domain: str, scope: str, trained: set[tuple[str, str]]) -> str:
    """What a model knows of a place, by the (domain, scope) of everything that it was trained on."""
    if not scope:
        return NAMELESS
    return TRAINED if (domain, scope) in trained else UNTRAINED


def is_acted(rows: Sequence[Tried]) -> bool:
    """Whether the rows were tried in an environment, not replayed."""
    return bool(rows) and "n_success" in next(iter(rows[0].arms.values()))


def ratios_of(rows: Sequence[Tried]) -> dict[str, Ratios]:
    """Arm -> metric -> numerator and denominator per unit, units in the order of their names."""
    units = {unit: k for k, unit in enumerate(sorted({row.unit for row in rows}))}
    index = np.array([units[row.unit] for row in rows], np.int64)

    def column(arm: str, name: str) -> Any:
        values = np.array([row.arms[arm][name] for row in rows], np.float64)
        return np.bincount(index, values, len(units)) if len(rows) else values

    arms = list(rows[0].arms) if rows else list(ARMS)
    known = rows[0].arms[arms[0]].keys() if rows else {"nll", "n_tokens"}
    metrics = {metric: pair for metric, pair in MEASURES.items() if set(pair) <= known}
    return {
        arm: {metric: (column(arm, top), column(arm, bottom)) for metric, (top, bottom) in metrics.items()}
        for arm in arms
    }


def costs_of(rows: Sequence[Tried], arm: str) -> dict[str, Any]:
    """What an arm costs: context tokens and milliseconds, per task in the worlds, per step of a replay."""
    if not rows:
        return {"n": 0}
    sums = [row.arms[arm] for row in rows]
    acted = is_acted(rows)
    n = sum(one["n_tasks" if acted else "n_steps"] for one in sums)
    about = {"n": n, "n_places": len({row.unit for row in rows})} if acted else {"n": len(rows), "steps": n}
    return {
        **about,
        "context_tokens": round(sum(one["n_context_tokens"] for one in sums) / n, 2),
        "latency_ms": round(1000 * sum(one["seconds"] for one in sums) / n, 3),
    }


def summarise(rows: Sequence[Tried], config: EvaluationConfig) -> dict[str, Any]:
    """Arms and their paired differences from `none`."""
    ratios = ratios_of(rows)
    return summarise_ratios(ratios, {arm: costs_of(rows, arm) for arm in ratios}, limits(rows, config))


def limits(rows: Sequence[Tried], config: EvaluationConfig) -> EvaluationConfig:
    """The settings with the fewest units that count as evidence."""
    return config.model_copy(update={"min_tasks": FEWEST_PLACES}) if is_acted(rows) else config


def breakdown(
    rows: Iterable[Tried], group: Callable[[Tried], str], config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    """The arms again for each group of tasks, in the order of the groups' names; `n_tasks` is what a group holds."""
    groups: dict[str, list[Tried]] = defaultdict(list)
    for row in rows:
        groups[group(row)].append(row)
    return {name: {"n_tasks": len(mine), **summarise(mine, config)} for name, mine in sorted(groups.items())}


def by_k(found: Mapping[int, Sequence[Tried]], config: EvaluationConfig) -> list[dict[str, Any]]:
    """The base and the trained model by how many memory items at most they were shown, on the same tasks.

    Args:
        found: number of items -> rows with the arms `base` and `trained`.
        config: of the intervals.
    """
    return [{"k": k, "n_tasks": len(rows), **summarise(rows, config)} for k, rows in sorted(found.items()) if rows]


def other_ks(settings: Settings) -> list[int]:
    """Numbers of items to measure beside none and all: those of the settings between 0 and `memory.top_k`."""
    return sorted({k for k in settings.evaluation.ks if 0 < k < settings.memory.top_k})


def base_and_trained(row: Tried, base: dict[str, Any], trained: dict[str, Any]) -> Tried:
    """A row for `by_k`."""
    return replace(row, arms={"base": base, "trained": trained})


# -- pairs ------------------------------------------------------------------------------------------------------------


def comparisons(rows: Sequence[Tried], config: EvaluationConfig) -> list[dict[str, Any]]:
    """Pairs of arms: differences with clustered intervals, and McNemar's exact test on tasks; none for too few units.

    The test takes tasks as independent, which in the worlds they are only between places: read it beside the interval.
    """
    ratios, config = ratios_of(rows), limits(rows, config)
    n_units = len({row.unit for row in rows})
    if n_units < config.min_tasks:
        return []
    draws, found = resamples(n_units, config), []
    for arm, reference in PAIRS:
        metrics = {}
        for metric, ratio in ratios[arm].items():
            difference = paired_difference(ratio, ratios[reference][metric], draws, config.confidence)
            says = verdict(difference, lower_is_better=METRICS[metric])
            metrics[metric] = {**asdict(difference), "verdict": says}
        gained = sum(row.score(arm) > row.score(reference) for row in rows)
        lost = sum(row.score(arm) < row.score(reference) for row in rows)
        test = {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)}
        found.append({"arm": arm, "reference": reference, "n_tasks": len(rows), "metrics": metrics, "mcnemar": test})
    return found


def harm(rows: Sequence[Tried]) -> dict[str, dict[str, Any]]:
    """Arm -> the tasks that went worse with it than with nothing, and those that went better, with what was in play."""
    return {
        arm: {
            "harmed": [_in_play(row, arm) for row in rows if row.score(arm) < row.score("none")],
            "helped": [_in_play(row, arm) for row in rows if row.score(arm) > row.score("none")],
            "n_tasks": len(rows),
        }
        for arm in ARMS[1:]
    }


def _in_play(row: Tried, arm: str) -> dict[str, Any]:
    return {
        "task_id": row.task_id,
        "scope": row.scope,
        "none": row.score("none"),
        arm: row.score(arm),
        "memory_items": list(row.shown) if arm in ("context", "dual") else [],
        "adapter": row.adapter if arm in ("weights", "dual") else "",
    }
