"""The report of a training cycle in the worlds: four arms on `report` tasks, and the gate's verdict on `gate` tasks.

What is written has the shape that `evaluation.report` renders; how arms act and are compared is in `acting`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from synde_pipeline.evaluation.arms import ARMS, REPORTS, learned_tasks
from synde_pipeline.evaluation.query import logs_by_outcome
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.models.merge import fresh_merged
from synde_pipeline.models.registry import Served, champion, served_of
from synde_pipeline.records import SCHEMA_VERSION
from synde_pipeline.settings import Settings, SimulationConfig
from synde_pipeline.simulation.acting import (
    PlaceRows,
    compare,
    four_arms,
    rows_for_json,
    rows_from_json,
    summary,
    sums_of,
)
from synde_pipeline.simulation.lab import Lab, timed
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Place
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.known import known_to

METHOD = "acting in the worlds on report tasks that no day hands out"


def evaluate_cycle(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict[str, Any]:
    """Let four arms try a cycle's domain, and the candidate against the champion; returns the report.

    Everything is as of the last day that the cycle learned from, tried on the day after.

    Raises:
        LineageError: the cycle's model is stale, or an evaluated task was learned from.
    """
    config = settings.simulation
    assert config is not None  # noqa: S101 - the caller chose this evaluation by it
    lab = Lab(warehouse, settings, known=known_to(warehouse, cycle.key))
    model = fresh_merged(warehouse, cycle, lab.base.hash)
    candidate = {cycle.domain: served_of(model)}
    day = day_number(cycle.last_day)
    here = [place for place in places(config, day) if place.world.domain == cycle.domain]
    tasks = held_out_tasks(here, "report", config.report_tasks, day + 1)
    n_checked = check_no_leak([task.task_id for task in tasks], learned_tasks(warehouse, lab.memory.ledger.task_ids))
    arms = four_arms(lab, tasks, candidate, lab.recall(tasks, cycle.last_day), seed=config.seed)
    rows = {arm: sums_of(arms[arm]) for arm in ARMS}
    return {
        "schema_version": SCHEMA_VERSION,
        "cycle": cycle.key,
        "domain": cycle.domain,
        "sequence": cycle.sequence,
        "base": {"name": lab.base.header.info["name"], "hash": lab.base.hash},
        "model": {"hash": model.content_hash, "adapters": model.info["adapters"]},
        "evaluation": {
            "method": METHOD,
            # Held-out tasks are tried on the day after the last one that anything was learned from.
            "is_time_split": True,
            "last_claimed_day": str(cycle.last_day),
            "days": [],
            "n_tasks": len(tasks),
            "n_trajectories": len(tasks) * len(ARMS),
            "n_places": len(here),
            "n_tasks_checked_for_leaks": n_checked,
        },
        "logs": logs_by_outcome(warehouse),
        **summary(rows, settings.evaluation),
        "all_domains": _pooled(warehouse, cycle, rows, settings),
        "places": rows_for_json(rows),
        "task_ids": [task.task_id for task in tasks],
        # Foreign logs may lie in a laboratory too: where nobody can act there is no evidence.
        "gate": _gate(lab, cycle, (here, day), candidate, config) if here else None,
    }


def _gate(
    lab: Lab, cycle: Cycle, where: tuple[list[Place], int], candidate: Mapping[str, Served], config: SimulationConfig
) -> dict[str, Any]:
    """Candidate against champion on `gate` tasks, as they would be served (with memory) and by weights alone.

    It passes when it solves at least as many tasks with memory, and more of them with memory or without. With memory
    that says everything both may be at the ceiling; weights that know it too still save its tokens.
    """
    here, day = where
    tasks = held_out_tasks(here, "gate", config.gate_tasks, day + 1)
    shown = lab.recall(tasks, cycle.last_day)
    before = {domain: one for domain, one in champion(lab.warehouse).domains.items() if domain == cycle.domain}
    found: dict[str, Any] = {}
    for arm, memory in (("dual", shown), ("weights", None)):
        new, old = (
            sums_of(timed(lab.act, tasks, memory=memory, served=served, seed=config.seed + 1, label=f"gate {arm}"))
            for served in (candidate, before)
        )
        difference, verdict = compare(new, old, lab.settings.evaluation)
        found[arm] = {
            "difference": asdict(difference),
            "verdict": verdict,
            "candidate": sum(row.n_success for row in new) / len(tasks),
            "champion": sum(row.n_success for row in old) / len(tasks),
        }
    gains = {arm: one["difference"]["value"] for arm, one in found.items()}
    return {
        "passed": gains["dual"] >= 0 and max(gains.values()) > 0,
        "reason": f"{len(tasks)} gate tasks against the champion: " + ", ".join(_said(*one) for one in found.items()),
        "n": len(tasks),
        **found,
    }


def _said(arm: str, found: dict[str, Any]) -> str:
    difference = found["difference"]
    return (
        f"{arm} {difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}] ({found['verdict']})"
    )


def _pooled(warehouse: Warehouse, cycle: Cycle, mine: PlaceRows, settings: Settings) -> dict[str, Any]:
    """This cycle's places with those of the latest earlier report of every other domain."""
    latest: dict[str, str] = {}
    for other in cycles(warehouse):
        if other.sequence < cycle.sequence and other.domain != cycle.domain and warehouse.header(REPORTS, other.key):
            latest[other.domain] = other.key
    rows: PlaceRows = {arm: list(sums) for arm, sums in mine.items()}
    for key in latest.values():
        other = rows_from_json(read_json(warehouse.folder(REPORTS, key) / "report.json")["places"])
        rows = {arm: sums + other[arm] for arm, sums in rows.items()}
    found = summary(rows, settings.evaluation)
    return {"cycles": sorted([*latest.values(), cycle.key]), "is_time_split": True, **found}
