"""Which training cycle is due: decided from what lies in the warehouse, never from what was once requested."""

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.gate import is_decided
from synde_pipeline.logs.tombstones import tombstones
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, fresh_merged
from synde_pipeline.models.registry import champion
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import Standing
from synde_pipeline.training.cycles import Cycle, cycles


def is_due(warehouse: Warehouse, cycle: Cycle) -> bool:
    """Whether a cycle lacks a report of the model that can be made now, or the gate's decision on it."""
    base, report = warehouse.header(BASE, ""), warehouse.header(REPORTS, cycle.key)
    if base is None or report is None:
        return True
    try:
        model = fresh_merged(warehouse, cycle, base.content_hash)
    except LineageError:
        return True
    return report.inputs.get(MERGED) != model.content_hash or not is_decided(warehouse, cycle)


def due_cycles(warehouse: Warehouse) -> list[Cycle]:
    """Frozen cycles that are due, oldest first."""
    return [cycle for cycle in cycles(warehouse) if is_due(warehouse, cycle)]


def standing(warehouse: Warehouse) -> Standing:
    """What became of all cycles: turned down by the gate, or not trained and judged yet.

    What a person took out was not turned down by the gate: its examples do not come back.
    """
    known, taken_out = champion(warehouse), tombstones(warehouse).cycles
    headers = {cycle.key: warehouse.header(ADAPTERS, cycle.key) for cycle in cycles(warehouse)}
    rejected = {key for key, found in headers.items() if found and known.rejected(key, found.content_hash)}
    return Standing(frozenset(rejected - taken_out), frozenset(cycle.key for cycle in due_cycles(warehouse)))
