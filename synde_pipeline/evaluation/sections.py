"""The sections that every eval report has, however its tasks were tried: put together from what was measured.

How tasks are tried is in `arms` (logs replayed) and in `simulation.evaluate` (the worlds).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synde_pipeline.evaluation.contents import contents, cost
from synde_pipeline.evaluation.earlier import curve, with_other_domains
from synde_pipeline.evaluation.outcomes import Tried, breakdown, by_k, comparisons, harm
from synde_pipeline.evaluation.retention import Measured, retention
from synde_pipeline.settings import EvaluationConfig, Settings
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle

Summarise = Callable[[Sequence[Tried], EvaluationConfig], dict[str, Any]]


NOT_MEASURED: Mapping[str, Any] = {
    "labels": None,
    "comparisons": [],
    "by_domain": {},
    "by_place": {},
    "by_k": [],
    "curve": [],
    "retention": None,
    "own_data": None,
    "contents": [],
    "cost": {
        "adapters": 0,
        "adapter_bytes": 0,
        "training": {"cycles": 0, "sequences": 0, "steps": 0, "cpu_s": None},
        "arms": {},
    },
    "training_seeds": [],
    "harm": {},
    "tasks_elsewhere": [],
}
"""The sections of a report whose candidate could not be tried."""


@dataclass(frozen=True)
class Evidence:
    """What was measured for one report."""

    rows: Sequence[Tried]
    """`report` tasks that all arms tried."""
    is_time_split: bool
    """Whether all of them are later than everything that the model learned from."""
    elsewhere: Sequence[Tried] = ()
    """Tasks at places that the agent never visits; told apart, and in no other number."""
    few: Mapping[int, Sequence[Tried]] = field(default_factory=dict)
    """Number of memory items -> rows for the table by k."""
    retained: Measured | None = None
    own_data: dict[str, Any] | None = None


def sections(
    warehouse: Warehouse, cycle: Cycle, model: Header, evidence: Evidence, settings: Settings, *, summarise: Summarise
) -> dict[str, Any]:
    """Everything that a report says of arms, places, retention, contents and cost; keys as in report.json.

    Args:
        warehouse: where earlier reports lie.
        cycle: whose model was tried.
        model: its header.
        evidence: what was measured.
        settings: of intervals and prices.
        summarise: rows -> arms and differences.
    """
    config, rows = settings.evaluation, list(evidence.rows)
    pooled, about = with_other_domains(warehouse, cycle, rows, is_time_split=evidence.is_time_split)
    mine = summarise(rows, config)
    held = contents(warehouse, cycle, model)
    retained = evidence.retained and retention(warehouse, cycle, evidence.retained, model, config)
    return {
        **mine,
        "all_domains": {**about, **summarise(pooled, config), "comparisons": comparisons(pooled, config)},
        "comparisons": comparisons(rows, config),
        "by_domain": breakdown(pooled, lambda row: row.domain, config),
        "by_place": breakdown([*rows, *evidence.elsewhere], lambda row: row.place, config),
        "by_k": by_k(evidence.few, config),
        "curve": curve(warehouse, cycle, mine),
        "retention": retained,
        "own_data": evidence.own_data,
        "contents": held,
        "cost": cost(warehouse, held, mine["arms"], settings.llm),
        "training_seeds": sorted({row["seed"] for row in held if row["seed"] is not None}),
        "harm": harm(rows),
        "tasks": [row.for_json() for row in rows],
        "tasks_elsewhere": [row.for_json() for row in evidence.elsewhere],
    }
