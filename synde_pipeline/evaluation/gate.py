"""The gate's last step: a cycle's report -> champion moved, or left where it is. Fail-closed (law 11).

Whether a candidate passes is computed where it is measured and lies in the report; this module only acts on it.
"""

from dataclasses import dataclass

from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.lineage import check_inputs
from synde_pipeline.models.merge import MERGED, fresh_merged
from synde_pipeline.models.registry import champion, promote, reject
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import Cycle


@dataclass(frozen=True)
class Verdict:
    """What became of a cycle's model."""

    accepted: bool | None
    """None when the report holds no evidence to decide on: the champion stays, and nothing is recorded."""
    reason: str


def decide(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> Verdict:
    """Promote or reject a cycle's model by its report; call it under the training lease.

    Deciding again on an unchanged report changes nothing.

    Raises:
        LineageError: the report is missing, or is about another model than the one that lies there now.
    """
    header = warehouse.header(REPORTS, cycle.key)
    if header is None:
        raise LineageError(f"{REPORTS}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    model = fresh_merged(warehouse, cycle, base_hash)
    check_inputs(header, {MERGED: model.content_hash})
    gate = read_json(warehouse.folder(REPORTS, cycle.key) / "report.json").get("gate")
    if gate is None:
        return Verdict(None, "the report holds no gate evidence: offline replay decides nothing yet")
    record = promote if gate.get("passed") is True else reject
    history = record(warehouse, cycle, model, gate["reason"]).history
    # The first word on a model stands, whatever a later report of it says.
    latest = next(item for item in reversed(history) if item.cycle == cycle.key)
    return Verdict(latest.accepted, latest.reason)


def is_decided(warehouse: Warehouse, cycle: Cycle) -> bool:
    """Whether the report's evidence, if it holds any, has been acted on."""
    header, model = warehouse.header(REPORTS, cycle.key), warehouse.header(MERGED, cycle.key)
    if header is None or model is None:
        return False
    return not header.info.get("has_gate") or champion(warehouse).has_decided(cycle.key, model.content_hash)
