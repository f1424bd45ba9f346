"""What studies train in lived laboratories: how many of them, and adapters that learn from their logs in other ways.

How ways to learn are tried is in `ways`, how one arm acts and what it gains in `paired`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.from_memory import LESSONS, Scribe
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow, build_shard
from synde_pipeline.training.train import train

ALONE = TrainingConfig(**{**PRESETS["world"].model_dump(), "scopes_per_adapter": 0, "anchors": 0.0})
"""One adapter for all rows it is given, without anchors from others'."""


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


def adapters_of(
    model: Any, groups: Mapping[str, Sequence[ShardRow]], config: TrainingConfig
) -> dict[str, AdapterWeights]:
    """One adapter a group, each trained alone on the model, which is left as it was."""
    if not groups:
        return {}
    trained = train(model, list(groups.values()), config)
    try:
        return {name: trained.bank.weights(index) for index, name in enumerate(groups)}
    finally:
        trained.bank.remove()
