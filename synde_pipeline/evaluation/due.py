"""Which training cycle is due: decided from what lies in the warehouse, never from what was once requested."""

from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.models.merge import MERGED
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import Cycle, cycles


def is_finished(warehouse: Warehouse, cycle: Cycle) -> bool:
    """Whether a cycle has a report of the merged model that lies there now."""
    report, model = warehouse.header(REPORTS, cycle.key), warehouse.header(MERGED, cycle.key)
    return report is not None and model is not None and report.inputs.get(MERGED) == model.content_hash


def due_cycles(warehouse: Warehouse) -> list[Cycle]:
    """Frozen cycles that are not finished, oldest first."""
    return [cycle for cycle in cycles(warehouse) if not is_finished(warehouse, cycle)]
