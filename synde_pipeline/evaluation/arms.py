"""The four arms of an evaluation (none, context, weights, dual) on the same tasks, and the report they add up to.

How a single run is scored is in `replay_eval`; intervals are in `stats`; pages and tables in `report`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import Base, load
from synde_pipeline.evaluation.query import logs_by_outcome
from synde_pipeline.evaluation.replay_eval import Replayer, TaskSums
from synde_pipeline.evaluation.stats import estimate, paired_difference, resamples, verdict
from synde_pipeline.evaluation.tasks import EvaluationSet, check_no_leak, evaluation_set
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.merge import CycleModel, cycle_model, fresh_merged
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import SCHEMA_VERSION, Trajectory
from synde_pipeline.settings import EvaluationConfig, Settings
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.known import known_to, memory_at

ARMS = ("none", "context", "weights", "dual")
REPORTS = "eval_reports"
METRICS = {"success": False, "nll": True, "tool_top1": False, "steps": True}
"""Metric -> whether lower is better. success: share of tasks solved; nll: nats per action token; tool_top1: share of
steps; steps: actions per task. A report has the ones that its method measures, in this order."""

Ratios = dict[str, tuple[Any, Any]]
"""Metric -> numerator and denominator per unit, each of shape (units,)."""

ArmSums = dict[str, list[TaskSums]]
"""Arm -> one row a task, same tasks in the same order in every arm."""


def evaluate_cycle(
    warehouse: Warehouse, cycle: Cycle, trajectories: Iterable[Trajectory], settings: Settings
) -> dict[str, Any]:
    """Replay a cycle's `report` tasks through base and candidate, with and without memory; returns the report.

    Raises:
        LineageError: the merged model is stale, or an evaluated task was learned from.
    """
    base = load(warehouse)
    merged = fresh_merged(warehouse, cycle, base.hash)
    last_day = learned_until(warehouse, cycle, base)
    chosen = evaluation_set(trajectories, cycle.domain, last_day)
    memory = memory_at(warehouse, settings.memory, known_to(warehouse, cycle.key))
    n_checked = check_no_leak(chosen.task_ids, learned_tasks(warehouse, memory.ledger.task_ids))
    models = {False: lambda: CycleModel.plain(base.model), True: lambda: cycle_model(warehouse, cycle, base)}
    sums = replay_arms(models, base, chosen, memory, settings)
    return {
        "schema_version": SCHEMA_VERSION,
        "cycle": cycle.key,
        "domain": cycle.domain,
        "sequence": cycle.sequence,
        "base": {"name": base.header.info["name"], "hash": base.hash},
        "model": {"hash": merged.content_hash, "adapters": merged.info["adapters"]},
        "memory": _pinned(memory, chosen),
        "evaluation": _about(chosen, sums, last_day, n_checked),
        "logs": logs_by_outcome(warehouse),
        **summarise(sums, settings.evaluation),
        "all_domains": pooled(warehouse, cycle, (sums, chosen.is_time_split), settings.evaluation),
        "tasks": [
            {"task_id": row.task_id, "arms": {arm: asdict(sums[arm][k]) for arm in ARMS}}
            for k, row in enumerate(sums["none"])
        ],
    }


def replay_arms(
    models: dict[bool, Callable[[], CycleModel]], base: Base, chosen: EvaluationSet, memory: Memory, settings: Settings
) -> ArmSums:
    """Score the four arms; one model is in memory at a time."""
    encoder = PromptEncoder(base.tokenizer, settings.prompt)
    sums: ArmSums = {}
    for trained, plain, shown in ((False, "none", "context"), (True, "weights", "dual")):
        loaded = models[trained]()
        for arm, arm_memory in ((plain, None), (shown, memory)):
            replayer = Replayer(loaded.model, encoder, chosen.tools, arm_memory, at=loaded.at)
            sums[arm] = replayer.replay(chosen.trajectories, arm)
    return {arm: sums[arm] for arm in ARMS}


def _pinned(memory: Memory, chosen: EvaluationSet) -> dict[str, Any]:
    """The newest bank that was recalled from, which says what the arms with memory could see."""
    days = [item.day - timedelta(days=1) for item in chosen.trajectories]
    return (
        {"as_of": str(max(days)), "bank": memory.bank(max(days)).bank_hash} if days else {"as_of": None, "bank": None}
    )


def _about(chosen: EvaluationSet, sums: ArmSums, last_day: date, n_checked: int) -> dict[str, Any]:
    days = [item.day for item in chosen.trajectories]
    return {
        "method": "offline replay of successful runs of report tasks",
        "is_time_split": chosen.is_time_split,
        "last_claimed_day": str(last_day),
        "days": [str(min(days)), str(max(days))] if days else [],
        "n_tasks": len(chosen.task_ids),
        "n_trajectories": len(chosen.trajectories),
        "n_tools": len(chosen.tools),
        "n_tasks_checked_for_leaks": n_checked,
        "n_steps_with_earlier_steps_dropped": sum(row.n_truncated_steps for row in sums["dual"]),
        "n_texts_elided": sum(row.n_elided for row in sums["dual"]),
    }


def summarise(sums: ArmSums, config: EvaluationConfig) -> dict[str, Any]:
    """Arms of a replay and their paired differences from `none`."""
    return summarise_ratios(
        {arm: _ratios(rows) for arm, rows in sums.items()},
        {arm: _costs(rows) if rows else {"n": 0} for arm, rows in sums.items()},
        config,
    )


def summarise_ratios(
    ratios: dict[str, Ratios], costs: dict[str, dict[str, Any]], config: EvaluationConfig
) -> dict[str, Any]:
    """Arms and their paired differences from `none`, with intervals; too few units give a note and no number.

    Args:
        ratios: arm -> metric -> numerator and denominator per unit (task or place), same units in every arm.
        costs: arm -> what else is told of it; `n` is what its numbers rest on.
        config: resamples, confidence, and the fewest units.
    """
    n_units = len(next(iter(next(iter(ratios.values())).values()))[0])
    if n_units < config.min_tasks:
        note = f"not enough tasks (n={n_units}, needs {config.min_tasks})"
        return {"arms": {arm: {"n": n_units, "note": note} for arm in ratios}, "differences": {}}
    draws = resamples(n_units, config)
    arms = {arm: dict(costs[arm]) for arm in ratios}
    differences: dict[str, dict[str, Any]] = {arm: {} for arm in ratios if arm != "none"}
    for arm, metrics in ratios.items():
        for metric, ratio in metrics.items():
            arms[arm][metric] = asdict(estimate(*ratio, draws, config.confidence))
            if arm == "none" or "none" not in ratios:
                continue
            found = paired_difference(ratio, ratios["none"][metric], draws, config.confidence)
            against = verdict(found, lower_is_better=METRICS[metric])
            differences[arm][metric] = {**asdict(found), "against_none": against}
    return {"arms": arms, "differences": differences}


def _ratios(rows: Sequence[TaskSums]) -> Ratios:
    def column(name: str) -> Any:
        return np.array([getattr(row, name) for row in rows], np.float64)

    return {
        "nll": (column("nll"), column("n_tokens")),
        "tool_top1": (column("n_tool_top1"), column("n_steps")),
    }


def _costs(rows: Sequence[TaskSums]) -> dict[str, Any]:
    n_steps = sum(row.n_steps for row in rows)
    return {
        "n": len(rows),
        "steps": n_steps,
        "context_tokens": round(sum(row.n_context_tokens for row in rows) / n_steps, 2),
        "latency_ms": round(1000 * sum(row.seconds for row in rows) / n_steps, 3),
    }


def learned_until(warehouse: Warehouse, cycle: Cycle, base: Base) -> date:
    """Latest day that a cycle's model was learned from: all cycles up to it (replay crosses domains) and the base."""
    days = [before.last_day for before in cycles(warehouse) if before.sequence <= cycle.sequence]
    return max([*days, *map(date.fromisoformat, base.header.info.get("days", ()))])


def learned_tasks(warehouse: Warehouse, remembered: Iterable[str]) -> set[str]:
    """Every task that memory (these), a claimed example or the base was learned from."""
    base = warehouse.header(BASE, "")
    learned = set(remembered) | set(base.info.get("task_ids", ()) if base else ())
    for cycle in cycles(warehouse):
        learned |= {row["metadata"]["task_id"] for row in claimed_examples(warehouse, cycle.key)}
    return learned


def pooled(warehouse: Warehouse, cycle: Cycle, mine: tuple[ArmSums, bool], config: EvaluationConfig) -> dict[str, Any]:
    """This cycle's tasks with the latest earlier report of every other domain; time-split if all of them are."""
    latest: dict[str, str] = {}
    for other in cycles(warehouse):
        if other.sequence < cycle.sequence and other.domain != cycle.domain and warehouse.header(REPORTS, other.key):
            latest[other.domain] = other.key
    sums, is_time_split = {arm: list(rows) for arm, rows in mine[0].items()}, mine[1]
    for key in latest.values():
        other = read_json(warehouse.folder(REPORTS, key) / "report.json")
        is_time_split = is_time_split and other["evaluation"]["is_time_split"]
        for arm in ARMS:
            sums[arm] += [TaskSums(**task["arms"][arm]) for task in other["tasks"]]
    found = summarise(sums, config)
    return {"cycles": sorted([*latest.values(), cycle.key]), "is_time_split": is_time_split, **found}
