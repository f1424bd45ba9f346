"""The gate's last step: a cycle's report -> champion moved, or left where it is. Fail-closed (law 11).

Whether a candidate passes is computed where it is measured and lies in the report; this module only acts on it, under
compare-and-swap on the champion that the evidence was gathered against.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.gate_rule import NOT_APPLICABLE, PASSED
from synde_pipeline.evaluation.wealth import IMPROVEMENT, NON_INFERIOR
from synde_pipeline.lineage import check_inputs
from synde_pipeline.models.merge import MERGED, fresh_merged
from synde_pipeline.models.registry import Basis, champion, promote, reject
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import Cycle

STALE = "stale evidence"


@dataclass(frozen=True)
class Verdict:
    """What became of a cycle's model."""

    accepted: bool | None
    """None when the report holds no evidence to decide on, or evidence against another champion: the champion stays,
    and nothing is recorded."""
    reason: str


def decide(warehouse: Warehouse, cycle: Cycle, base_hash: str) -> Verdict:
    """Promote or reject a cycle's model by its report; call it under the training lease.

    Deciding again on an unchanged report changes nothing. Evidence against a champion that has moved since decides
    nothing: the cycle is due again (`due.is_due`), and is compared with the champion of then. Only the domain's own
    champion counts: another domain's serves other tasks.

    Raises:
        LineageError: the report is missing or unreadable, or is about another model than the one that lies there now.
    """
    header = warehouse.header(REPORTS, cycle.key)
    if header is None:
        raise LineageError(f"{REPORTS}[{cycle.key}] is missing", remedy=f"run cycle {cycle.key} first")
    model = fresh_merged(warehouse, cycle, base_hash)
    check_inputs(header, {MERGED: model.content_hash})
    known = champion(warehouse)
    if not known.has_decided(cycle.key, model.content_hash):
        gate = gate_of(warehouse, cycle.key)
        if gate is None:
            return Verdict(None, "the report holds no gate evidence")
        compared = _compared_with(gate)
        if compared is not None and compared != known.served_hash(cycle.domain):
            now = known.domains[cycle.domain].cycle if cycle.domain in known.domains else "the base alone"
            return Verdict(None, f"{STALE}: the champion is {now} by now; evaluate {cycle.key} again")
        problem = why_not(gate)
        reason = str(gate.get("reason", "no reason given"))
        if problem:
            known = reject(warehouse, cycle, model, reason if gate.get("passed") is False else problem, _basis(gate))
        else:
            known = promote(warehouse, cycle, model, reason, _basis(gate))
    # The first word on a model stands, whatever a later report of it says.
    latest = next(item for item in reversed(known.history) if item.cycle == cycle.key)
    return Verdict(latest.accepted, latest.reason)


def gate_of(warehouse: Warehouse, key: str) -> Mapping[str, Any] | None:
    """The gate's section of a cycle's report; None where it has none.

    Raises:
        LineageError: the report cannot be read.
    """
    path = warehouse.folder(REPORTS, key) / "report.json"
    try:
        report = read_json(path)
        gate = report.get("gate")
    except (OSError, ValueError, AttributeError) as error:
        raise LineageError(
            f"{path} cannot be read ({type(error).__name__})",
            expected="the report as it was published",
            remedy=f"evaluate {key} again; the champion stays as it was",
        ) from error
    return gate if isinstance(gate, Mapping) or gate is None else {"passed": None, "reason": f"gate is {gate!r:.60}"}


def why_not(gate: Mapping[str, Any]) -> str | None:
    """What keeps a gate's section from promoting; None where nothing does. Whatever is missing or odd does."""
    if gate.get("passed") is not True:
        return f"the gate says passed = {gate.get('passed')!r}"
    if gate.get("basis") not in (IMPROVEMENT, NON_INFERIOR):
        return f"the gate says passed, on the basis {gate.get('basis')!r}"
    if _compared_with(gate) is None:
        return "the gate says passed, and names no champion that it compared with"
    checks = gate.get("checks")
    if not isinstance(checks, list) or not checks:
        return "the gate says passed, and holds no checks"
    odd = [
        item for item in checks if not isinstance(item, Mapping) or item.get("status") not in (PASSED, NOT_APPLICABLE)
    ]
    return f"the gate says passed, and {len(odd)} of its checks do not" if odd else None


def _compared_with(gate: Mapping[str, Any]) -> str | None:
    found = gate.get("champion")
    value = found.get("hash") if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else None


def _basis(gate: Mapping[str, Any]) -> Basis:
    found = gate.get("basis")
    return cast("Basis", found) if found in get_args(Basis) else ""


def is_decided(warehouse: Warehouse, cycle: Cycle) -> bool:
    """Whether the report's evidence, if it holds any, has been acted on."""
    header, model = warehouse.header(REPORTS, cycle.key), warehouse.header(MERGED, cycle.key)
    if header is None or model is None:
        return False
    return not header.info.get("has_gate") or champion(warehouse).has_decided(cycle.key, model.content_hash)
