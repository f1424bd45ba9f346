"""What studies do with a lived laboratory: train adapters on its logs in ways of their own, and act with them.

Comparisons are paired: the same tasks, the same chances. Their error is over seeds where there are three or more, else
clustered by place.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from synde_pipeline.base_model import Base
from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PRESETS, EvaluationConfig, TrainingConfig
from synde_pipeline.simulation.acting import PlaceSums, compare, ratios_of, success_by_place, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.lab import Timed
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import NONE, AdapterBank
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.from_memory import LESSONS, Scribe
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow, build_shard
from synde_pipeline.training.train import train

ALONE = TrainingConfig(**{**PRESETS["world"].model_dump(), "scopes_per_adapter": 0, "anchors": 0.0})
"""One adapter for all rows it is given, without anchors from others'."""
Sums = list[PlaceSums]


def seeds(run: StudyRun) -> tuple[int, ...]:
    """Seeds of a preset's laboratories."""
    return (1,) if run.is_quick else (1, 2, 3)


def days(run: StudyRun) -> int:
    """Days that its laboratories live."""
    return 3 if run.is_quick else 5


def training(run: StudyRun, n_adapters: int = 1, **knobs: Any) -> TrainingConfig:
    """How a study trains an adapter that learns what `n_adapters` of the preset `world` learn; quick is too short.

    Args:
        run: whose preset decides on steps and batches.
        n_adapters: factor of the steps.
        knobs: what differs otherwise.
    """
    sizes = {"max_steps": 24 * n_adapters, "batch_size": 4} if run.is_quick else {"max_steps": 120 * n_adapters}
    return ALONE.model_copy(update={**sizes, **knobs})


def rows_by_domain(
    laboratory: Laboratory, config: TrainingConfig = ALONE, scribe: Scribe = LESSONS
) -> dict[str, list[ShardRow]]:
    """Training sequences of every domain's latest cycle, packed as a config wants them."""
    lab = laboratory.lab
    settings = lab.settings.model_copy(update={"training": config})
    latest = {cycle.domain: cycle for cycle in cycles(lab.warehouse)}
    return {
        domain: build_shard(lab.warehouse, cycle, lab.memory, lab.encoder, settings, scribe).rows
        for domain, cycle in latest.items()
    }


def adapters_of(model: Any, groups: Sequence[Sequence[ShardRow]], config: TrainingConfig) -> list[AdapterWeights]:
    """One adapter a group, each trained alone on the model, which is left as it was."""
    trained = train(model, groups, config)
    try:
        return [trained.bank.weights(index) for index in range(len(groups))]
    finally:
        trained.bank.remove()


def act(
    laboratory: Laboratory,
    tasks: Sequence[Task],
    *,
    items: int | Sequence[tuple[MemoryItem, ...]] = 0,
    model: Any = None,
    adapters: tuple[Sequence[AdapterWeights], Sequence[int]] | None = None,
) -> Sums:
    """Runs of tasks, summed by place.

    Args:
        laboratory: its base, memory and prompts.
        tasks: what is tried, in order.
        items: how many memory items are recalled for each task, or the items themselves.
        model: that acts; None is the pinned base.
        adapters: beside the model, and which of them each task gets, -1 for none.
    """
    lab = laboratory.lab
    base: Base = lab.base
    shown = lab.recall(tasks, laboratory.last_day, items) if isinstance(items, int) else items
    shown = shown if items != 0 else [()] * len(tasks)
    chosen = base.model if model is None else model
    bank = AdapterBank.of(chosen, adapters[0]) if adapters and adapters[0] else None
    routes = adapters[1] if adapters else [NONE] * len(tasks)
    try:
        agent = Agent(chosen, base.tokenizer, lab.encoder, seed=17, routed=bank.routed if bank else None)
        runs = agent.act([Assignment(*row) for row in zip(tasks, shown, routes, strict=True)])
    finally:
        if bank is not None:
            bank.remove()
    return sums_of(Timed(runs, 0.0))


def success(sums: Sums) -> float:
    """Share of tasks solved."""
    solved, tried = ratios_of(sums)["success"]
    return float(solved.sum() / tried.sum())


def over(groups: Sequence[Sums]) -> dict[str, Any]:
    """Success of an arm, one group of runs a seed: value and interval for a claim or a table."""
    values = [success(sums) for sums in groups]
    found = mean_interval(values) if len(values) >= 3 else None
    if found is not None:
        return {"measured": found[0], "error": found[1], "n": len(values)}
    pooled = [row for sums in groups for row in sums]
    one = success_by_place(pooled, EvaluationConfig())
    return {"measured": one.value, "error": (one.low, one.high), "n": len(pooled)}


def gain(pairs: Sequence[tuple[Sums, Sums]]) -> dict[str, Any]:
    """Success of one arm minus another's on the same tasks, one pair a seed: value and interval for a claim."""
    differences = [compare(new, old, EvaluationConfig())[0] for new, old in pairs]
    found = mean_interval([one.value for one in differences]) if len(pairs) >= 3 else None
    if found is not None:
        return {"measured": found[0], "error": found[1], "n": len(pairs)}
    new, old = ([row for pair in pairs for row in pair[k]] for k in (0, 1))
    one, _ = compare(new, old, EvaluationConfig())
    return {"measured": one.value, "error": (one.low, one.high), "n": len(new)}


def what(run: StudyRun, measured: str) -> str:
    """The words of a claim: what is measured, and what n counts."""
    return f"{measured}; n = {'places' if run.is_quick else 'seeds'}"


def as_json(sums: Sums) -> list[dict[str, Any]]:
    """Sums as a part keeps them."""
    return [asdict(row) for row in sums]


def from_json(rows: Sequence[dict[str, Any]]) -> Sums:
    """The way back."""
    return [PlaceSums(**row) for row in rows]
