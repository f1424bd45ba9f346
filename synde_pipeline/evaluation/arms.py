"""The four arms of an evaluation (none, context, weights, dual) on replayed logs, and the report they add up to.

How a single run is scored is in `replay_eval`; what is made of all arms' outcomes in `outcomes` and `sections`; pages
and tables in `report`.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import Base, load
from synde_pipeline.evaluation.contents import places_of
from synde_pipeline.evaluation.earlier import REPORTS
from synde_pipeline.evaluation.outcomes import Tried, base_and_trained, other_ks, place_of_model, summarise
from synde_pipeline.evaluation.own_data import on_own_data, own_texts
from synde_pipeline.evaluation.query import logs_by_outcome
from synde_pipeline.evaluation.replay_eval import Recalled, Replayer, TaskSums
from synde_pipeline.evaluation.retention import Cell, Measured, Row, cell_of, sets_to_try
from synde_pipeline.evaluation.sections import Evidence, sections
from synde_pipeline.evaluation.summary import ARMS, METRICS
from synde_pipeline.evaluation.tasks import EvaluationSet, check_no_leak, evaluation_set, runs_of_tasks, set_of_cycle
from synde_pipeline.evaluation.unlabelled import labels_of
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.in_play import adapters_in_play
from synde_pipeline.models.merge import CycleModel, cycle_model, fresh_merged
from synde_pipeline.models.registry import served_of
from synde_pipeline.models.route import Asked
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import SCHEMA_VERSION, Trajectory
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.known import known_to, memory_at

__all__ = ["ARMS", "METRICS", "REPORTS", "evaluate_cycle", "learned_tasks", "learned_until"]

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
    last_day, every, config = learned_until(warehouse, cycle, base), list(trajectories), settings.evaluation
    chosen = evaluation_set(every, cycle.domain, last_day)
    sets = {one.key: set_of_cycle(every, one, config.side_tasks) for one in sets_to_try(warehouse, cycle, config)}
    tried = {*chosen.task_ids, *(run.task_id for runs in sets.values() for run in runs)}
    memory = memory_at(warehouse, settings.memory, known_to(warehouse, cycle.key))
    n_checked = check_no_leak(tried, learned_tasks(warehouse, memory.ledger.task_ids))
    bench = Bench(base, chosen, Recalled(memory, settings.memory.top_k), settings)
    plain, trained = CycleModel.plain(base.model), cycle_model(warehouse, cycle, base)
    sums = bench.arms(plain, trained)
    rows = _rows(bench, sums, (warehouse, merged))
    evidence = Evidence(
        rows=rows,
        is_time_split=chosen.is_time_split,
        few=bench.by_k(plain, trained, sums, rows),
        retained=_retained(bench, sets, plain, trained),
        own_data=on_own_data(warehouse, base, merged, own_texts(base, settings), config),
    )
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
        "labels": labels_of(warehouse),
        **sections(warehouse, cycle, merged, evidence, settings, summarise=summarise),
        "task_ids": sorted(tried),
    }


@dataclass(frozen=True)
class Bench:
    """What all replays of one report share."""

    base: Base
    chosen: EvaluationSet
    recalled: Recalled
    """What the arms with memory are shown."""
    settings: Settings

    def arms(self, plain: CycleModel, trained: CycleModel) -> ArmSums:
        """Score the four arms."""
        shown, runs = self.recalled, self.chosen.trajectories
        return {
            "none": self.replay(plain, None, runs, "none"),
            "context": self.replay(plain, shown, runs, "context"),
            "weights": self.replay(trained, None, runs, "weights"),
            "dual": self.replay(trained, shown, runs, "dual"),
        }

    def replay(
        self, model: CycleModel, shown: Recalled | None, runs: Iterable[Trajectory], label: str
    ) -> list[TaskSums]:
        """Score runs with one model."""
        encoder = PromptEncoder(self.base.tokenizer, self.settings.prompt)
        return Replayer(model.model, encoder, self.chosen.tools, shown, at=model.at).replay(runs, label)

    def by_k(self, plain: CycleModel, trained: CycleModel, sums: ArmSums, rows: list[Tried]) -> dict[int, list[Tried]]:
        """Base and trained model with 0, ..., k memory items, on the first few tasks."""
        few, shown = rows[: self.settings.evaluation.side_tasks], self.recalled
        runs = runs_of_tasks(self.chosen.trajectories, [row.task_id for row in few])
        pairs = {0: (sums["none"], sums["weights"]), shown.top_k: (sums["context"], sums["dual"])}
        for k in other_ks(self.settings) if few else ():
            label = f"with {k} items"
            cut = shown.cut(k)
            pairs[k] = self.replay(plain, cut, runs, label), self.replay(trained, cut, runs, label)
        return {
            k: [base_and_trained(row, asdict(a), asdict(b)) for row, a, b in zip(few, *pair, strict=False)]
            for k, pair in pairs.items()
        }


def _rows(bench: Bench, sums: ArmSums, where: tuple[Warehouse, Header]) -> list[Tried]:
    """One row a task, with what was shown at any of its runs and the adapter of its place."""
    warehouse, merged = where
    runs: dict[str, list[Trajectory]] = defaultdict(list)
    for run in bench.chosen.trajectories:
        runs[run.task_id].append(run)
    tasks, recalled = [row.task_id for row in sums["none"]], bench.recalled
    first = [runs[task][0] for task in tasks]
    served = {merged.info["domain"]: served_of(merged)}
    asked = [Asked(run.domain, run.scope) for run in first]
    adapters = adapters_in_play(warehouse, served, bench.base.hash, asked)
    trained = places_of(warehouse, merged)
    return [
        Tried(
            task_id=task,
            domain=run.domain,
            scope=run.scope,
            place=place_of_model(run.domain, run.scope, trained),
            shown=tuple(sorted({item.item_id for one in runs[task] for item in recalled.recall_before(one)})),
            adapter=adapter,
            arms={arm: asdict(rows[k]) for arm, rows in sums.items()},
        )
        for k, (task, run, adapter) in enumerate(zip(tasks, first, adapters, strict=True))
    ]


def _retained(
    bench: Bench, sets: dict[str, list[Trajectory]], plain: CycleModel, trained: CycleModel
) -> Measured | None:
    """The cycle's model on each set, without memory, and the base on its own, which is the last one."""
    if not sets:
        return None
    row: Row = {key: found for key, runs in sets.items() if (found := _cell(bench, trained, runs, key))}
    return Measured("nll", row, _cell(bench, plain, list(sets.values())[-1], "base"))


def _cell(bench: Bench, model: CycleModel, runs: list[Trajectory], label: str) -> Cell:
    return cell_of((one.task_id, one.nll, one.n_tokens) for one in bench.replay(model, None, runs, f"set {label}"))


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
