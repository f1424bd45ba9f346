"""The report of a training cycle in the worlds: four arms on `report` tasks. The gate's evidence is in `gating`.

What is written has the shape that `evaluation.report` renders; how arms act and are compared is in `acting`; what every
report says of them, in `evaluation.sections`.
"""

from typing import Any

from synde_pipeline.evaluation.arms import ARMS, learned_tasks
from synde_pipeline.evaluation.contents import places_of
from synde_pipeline.evaluation.own_data import on_own_data
from synde_pipeline.evaluation.query import logs_by_outcome
from synde_pipeline.evaluation.retention import sets_to_try
from synde_pipeline.evaluation.sections import Evidence, sections
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.models.merge import fresh_merged
from synde_pipeline.models.registry import served_of
from synde_pipeline.records import SCHEMA_VERSION
from synde_pipeline.settings import Settings
from synde_pipeline.simulation.acting import summary_of_tasks
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.trial import Trial
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.known import known_to

METHOD = "acting in the worlds on report tasks that no day hands out"


def evaluate_cycle(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict[str, Any]:
    """Let four arms try a cycle's domain; returns the report.

    Everything is as of the last day that the cycle learned from, tried on the day after; a cycle's set for retention is
    of the day after its own last.

    Raises:
        LineageError: the cycle's model is stale, or an evaluated task was learned from.
    """
    config = settings.simulation
    assert config is not None  # noqa: S101 - the caller chose this evaluation by it
    lab = Lab(warehouse, settings, known=known_to(warehouse, cycle.key))
    model = fresh_merged(warehouse, cycle, lab.base.hash)
    trial = Trial(lab, cycle, config, {cycle.domain: served_of(model)})
    sets = trial.sets(sets_to_try(warehouse, cycle, settings.evaluation))
    every = [*trial.tasks, *trial.elsewhere, *(task for tasks in sets.values() for task in tasks)]
    tried = sorted({task.task_id for task in every})
    n_checked = check_no_leak(tried, learned_tasks(warehouse, lab.memory.ledger.task_ids))
    rows, few = trial.rows(places_of(warehouse, model))
    n, n_own = len(trial.tasks), settings.evaluation.side_tasks
    texts = CorpusData(lab.base.tokenizer, lab.encoder).rows(n_own, "retention")
    evidence = Evidence(
        rows=rows[:n],
        # Held-out tasks are tried on the day after the last one that anything was learned from.
        is_time_split=True,
        elsewhere=rows[n:],
        few=few,
        retained=trial.retained(sets),
        own_data=on_own_data(warehouse, lab.base, model, ("the base's corpus", texts), settings.evaluation),
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "cycle": cycle.key,
        "domain": cycle.domain,
        "sequence": cycle.sequence,
        "base": {"name": lab.base.header.info["name"], "hash": lab.base.hash},
        "model": {"hash": model.content_hash, "adapters": model.info["adapters"]},
        "evaluation": {
            "method": METHOD,
            "is_time_split": True,
            "last_claimed_day": str(cycle.last_day),
            "days": [],
            "n_tasks": n,
            "n_trajectories": n * len(ARMS),
            "n_places": len(trial.here),
            "n_tasks_checked_for_leaks": n_checked,
        },
        "logs": logs_by_outcome(warehouse),
        **sections(warehouse, cycle, model, evidence, settings, summarise=summary_of_tasks),
        "task_ids": tried,
    }
