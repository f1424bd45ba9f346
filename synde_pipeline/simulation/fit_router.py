"""Fitting the router of a laboratory: the arms act on `gate` tasks at the places that its adapters know."""

from collections.abc import Sequence
from datetime import date

from synde_pipeline.evaluation.arms import learned_tasks
from synde_pipeline.evaluation.fit_router import banks, domain_keys, fitted
from synde_pipeline.evaluation.limits import Tried
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.models.bank import served_rows
from synde_pipeline.models.decide import Decider
from synde_pipeline.models.keys import DomainKeys
from synde_pipeline.models.limits import Fitted
from synde_pipeline.models.registry import Served
from synde_pipeline.records import MemoryItem
from synde_pipeline.simulation.lab import NOTHING, Lab, asked_of
from synde_pipeline.simulation.loop import DAYS
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Task

SEED = 3
"""Of sampling, beside the simulation's own: other chances than those of the gate and of reports."""


def fit_by_acting(lab: Lab) -> dict[str, Fitted]:
    """Fit every domain's limits.

    Raises:
        LineageError: a gate task was learned from, or a model cannot be loaded.
    """
    return {
        domain: fitted(gate_rows(lab, domain, served), served, lab.settings.evaluation)
        for domain, served in banks(lab.warehouse).items()
    }


def gate_rows(lab: Lab, domain: str, served: Served) -> list[Tried]:
    """Each arm's success on `gate` tasks that have both an adapter and memory."""
    config, keys = lab.settings.simulation, domain_keys(lab.warehouse, served, lab.base.hash)
    assert config is not None  # noqa: S101 - only laboratories act
    last = max(day_number(date.fromisoformat(key)) for key in lab.warehouse.keys(DAYS))
    here = [place for place in places(config, last) if place.world.domain == domain]
    known = {scope for item in served_scopes(lab, served) for scope in item}
    where = [place for place in here if place.scope in known]
    if keys is None or not where:
        return []
    tasks = held_out_tasks(where, "gate", config.gate_tasks, last + 1)
    check_no_leak([task.task_id for task in tasks], learned_tasks(lab.warehouse, lab.memory.ledger.task_ids))
    shown = lab.recall(tasks, date_of(last))
    chosen = [k for k, items in enumerate(shown) if items]
    return _tried(lab, [tasks[k] for k in chosen], [shown[k] for k in chosen], (domain, served, keys))


def served_scopes(lab: Lab, served: Served) -> list[tuple[str, ...]]:
    """Scopes of each adapter that a domain serves."""
    return [row.scopes for row in served_rows(lab.warehouse, served, lab.base.hash)]


def _tried(
    lab: Lab, tasks: Sequence[Task], shown: Sequence[tuple[MemoryItem, ...]], about: tuple[str, Served, DomainKeys]
) -> list[Tried]:
    domain, served, keys = about
    assert lab.settings.simulation is not None  # noqa: S101 - asked above
    seed = lab.settings.simulation.seed + SEED
    arms = {
        arm: lab.act(
            tasks,
            memory=shown if arm != "weights" else None,
            served={domain: served} if arm != "context" else NOTHING,
            seed=seed,
            label=f"router, {arm}",
        )
        for arm in ("weights", "context", "dual")
    }
    near = Decider({domain: keys}, {}).familiarities([asked_of(task) for task in tasks])
    return [
        Tried(score, task.place.scope, *(float(arms[arm][k].is_success) for arm in ("weights", "context", "dual")))
        for k, (task, score) in enumerate(zip(tasks, near, strict=True))
        if score is not None
    ]
