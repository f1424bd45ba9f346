"""What earlier reports of a warehouse say that a new one shows again: other domains' tasks, and curves over cycles."""

from collections.abc import Iterator, Sequence
from typing import Any

from synde_pipeline.evaluation.outcomes import Tried
from synde_pipeline.evaluation.summary import measured
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.cycles import Cycle, cycles

REPORTS = "eval_reports"


def with_other_domains(
    warehouse: Warehouse, cycle: Cycle, rows: Sequence[Tried], *, is_time_split: bool
) -> tuple[list[Tried], dict[str, Any]]:
    """A cycle's tasks with those of the latest earlier report of every other domain, and what is said of them all."""
    latest = {
        report["domain"]: report for report in reports_before(warehouse, cycle) if report["domain"] != cycle.domain
    }
    every = [*rows, *(Tried.of_json(task) for report in latest.values() for task in report["tasks"])]
    splits = [is_time_split, *(report["evaluation"]["is_time_split"] for report in latest.values())]
    keys = sorted([*(report["cycle"] for report in latest.values()), cycle.key])
    return every, {"cycles": keys, "is_time_split": all(splits)}


def curve(warehouse: Warehouse, cycle: Cycle, section: dict[str, Any]) -> list[dict[str, Any]]:
    """One point a cycle of the domain, this one last: each arm's metric that counts, with its interval.

    Args:
        warehouse: where earlier reports lie.
        cycle: the one that is reported now.
        section: its arms.
    """
    mine = [report for report in reports_before(warehouse, cycle) if report["domain"] == cycle.domain]
    points = [(report["cycle"], report) for report in mine] + [(cycle.key, section)]
    return [{"cycle": key, "arms": found} for key, report in points if (found := _point(report["arms"]))]


def _point(arms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for arm, values in arms.items():
        for metric, one in list(measured(values).items())[:1]:
            found[arm] = {"metric": metric, "n": values["n"], **{name: one[name] for name in ("value", "low", "high")}}
    return found


def reports_before(warehouse: Warehouse, cycle: Cycle) -> Iterator[dict[str, Any]]:
    """Reports of all domains' earlier cycles, in the order of arrival; those of an older version are passed over."""
    for other in cycles(warehouse):
        if other.sequence < cycle.sequence and warehouse.header(REPORTS, other.key):
            report = read_json(warehouse.folder(REPORTS, other.key) / "report.json")
            if "comparisons" in report:
                yield report
