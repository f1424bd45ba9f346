"""Asset checks: the laws as badges in the UI. They read the warehouse and never block; each says what it compared."""

import dagster as dg

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.defs.evaluation import eval_reports
from synde_pipeline.defs.logs import raw_logs
from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.models import adapters
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.training import training_examples
from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.arms import REPORTS, learned_tasks
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.parquet import TRAJECTORIES
from synde_pipeline.logs.validate import accounted
from synde_pipeline.memory.daily import DELTAS, MEMORY
from synde_pipeline.memory.store import read_columns
from synde_pipeline.models.compose import ADAPTERS, checked_entry, ledger_before
from synde_pipeline.records import split_of
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.buffer import SOURCE
from synde_pipeline.training.cycles import cycles


@dg.asset_check(asset=raw_logs)
def rows_add_up(synde: Synde) -> dg.AssetCheckResult:
    """Every row that landed is kept, a duplicate, superseded, quarantined, pending, or moved to its label's day."""
    warehouse, lost = synde.warehouse, []
    keys = warehouse.keys(RAW_LOGS)
    for key in keys:
        header = warehouse.header(RAW_LOGS, key)
        counts = header.counts if header else {}
        if counts.get("rows_in") != accounted(counts):
            lost.append(key)
    return dg.AssetCheckResult(passed=not lost, metadata={"days": len(keys), "days_that_do_not_add_up": str(lost)})


@dg.asset_check(asset=raw_logs)
def schema_is_current(synde: Synde) -> dg.AssetCheckResult:
    """Every day's Parquet has the columns and types of the current schema version."""
    warehouse = synde.warehouse
    keys = warehouse.keys(RAW_LOGS)
    other = [key for key in keys if not warehouse.read_table(RAW_LOGS, key).schema.equals(TRAJECTORIES)]
    return dg.AssetCheckResult(passed=not other, metadata={"days": len(keys), "days_with_another_schema": str(other)})


@dg.asset_check(asset=curated_memory)
def memory_holds_train_tasks_only(synde: Synde) -> dg.AssetCheckResult:
    """No row of the memory ledger stems from a `gate` or `report` task."""
    tasks = read_columns(synde.warehouse, "task_id")["task_id"]
    others = {task for task in tasks.unique().to_pylist() if task and split_of(task) != "train"}
    return dg.AssetCheckResult(passed=not others, metadata={"rows": len(tasks), "leaked_tasks": len(others)})


@dg.asset_check(asset=curated_memory)
def memory_matches_its_deltas(synde: Synde) -> dg.AssetCheckResult:
    """Every day of the ledger was made from the deltas that lie in the warehouse now (law 6)."""
    warehouse = synde.warehouse
    keys = warehouse.keys(MEMORY)
    return _lineage_result([lambda k=key: fresh_header(warehouse, MEMORY, k, {DELTAS: k}) for key in keys])


@dg.asset_check(asset=training_examples)
def examples_hold_train_tasks_only(synde: Synde) -> dg.AssetCheckResult:
    """No training example stems from a `gate` or `report` task."""
    warehouse, tasks = synde.warehouse, set()
    for key in warehouse.keys(SOURCE):
        tasks |= {row["metadata"]["task_id"] for row in warehouse.read_table(SOURCE, key).to_pylist()}
    others = {task for task in tasks if split_of(task) != "train"}
    return dg.AssetCheckResult(passed=not others, metadata={"tasks": len(tasks), "leaked_tasks": len(others)})


@dg.asset_check(asset=adapters)
def adapters_match_their_base(synde: Synde) -> dg.AssetCheckResult:
    """Every adapter was trained on the pinned base, the ledger before it and the shard that lies there (law 6)."""
    warehouse = synde.warehouse
    header = warehouse.header(BASE, "")
    base = header.content_hash if header else ""
    trained = [cycle for cycle in cycles(warehouse) if warehouse.header(ADAPTERS, cycle.key)]
    return _lineage_result(
        [lambda c=cycle: checked_entry(warehouse, c, base, ledger_before(warehouse, c, base)) for cycle in trained]
    )


@dg.asset_check(asset=eval_reports)
def evaluated_tasks_were_never_learned(synde: Synde) -> dg.AssetCheckResult:
    """No task of any report is in memory, in a claimed example or in the base."""
    warehouse = synde.warehouse
    learned = learned_tasks(warehouse, read_columns(warehouse, "task_id")["task_id"].unique().to_pylist())
    evaluated = set().union(*(_evaluated(warehouse, key) for key in warehouse.keys(REPORTS)))
    return _lineage_result([lambda: check_no_leak(evaluated, learned)])


def _evaluated(warehouse: Warehouse, key: str) -> set[str]:
    report = read_json(warehouse.folder(REPORTS, key) / "report.json")
    return {task["task_id"] for task in report.get("tasks", ())} | set(report.get("task_ids", ()))


def _lineage_result(comparisons: list) -> dg.AssetCheckResult:
    """Run comparisons that raise LineageError; the result names the first that does."""
    problems = []
    for compare in comparisons:
        try:
            compare()
        except LineageError as error:
            problems.append(str(error))
    metadata = {"compared": len(comparisons), "problems": len(problems), "first": (problems or ["none"])[0]}
    return dg.AssetCheckResult(passed=not problems, metadata=metadata)


CHECKS = [
    rows_add_up,
    schema_is_current,
    memory_holds_train_tasks_only,
    memory_matches_its_deltas,
    examples_hold_train_tasks_only,
    adapters_match_their_base,
    evaluated_tasks_were_never_learned,
]
"""All of them, for runs outside the UI."""
