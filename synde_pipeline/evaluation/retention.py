"""Retention: what a cycle's model still does on the task sets of earlier cycles, and on the base's own data.

R[model, set] is measured without memory, so that it speaks of weights alone. A cycle's set never changes: tasks that
nothing was learned from, at the places (worlds) or of the days (logs) that the cycle learned from. Each report measures
one row of R, its own model's; the matrix is put together from the rows of all reports so far. Backward transfer is
Lopez-Paz and Ranzato's (GEM, NeurIPS 2017): the mean over earlier sets j of R[now, j] - R[j, j]; signs are turned so
that positive is always better. How tasks are tried or replayed is not here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.evaluation.earlier import reports_before
from synde_pipeline.evaluation.stats import Estimate, estimate, estimate_share, resamples, verdict
from synde_pipeline.evaluation.summary import METRICS, SHARES
from synde_pipeline.models.registry import Champion, champion
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import Cycle, cycles

BASE_ROW = "base"

Cell = dict[str, tuple[float, float]]
"""Unit (place or task) -> numerator and denominator of the metric."""
Row = dict[str, Cell]
"""Task set, named by its cycle -> what one model does on it."""


@dataclass(frozen=True)
class Measured:
    """One report's share of the matrix."""

    metric: str
    """success in the worlds, nll (nats per action token) in a replay."""
    row: Row
    """This cycle's model on its own set and on earlier ones."""
    base: Cell
    """The base alone on this cycle's own set."""

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Measured":
        """As a report stores it."""
        return cls(value["metric"], value["row"], value["base"])


def sets_to_try(warehouse: Warehouse, cycle: Cycle, config: EvaluationConfig) -> list[Cycle]:
    """Cycles of the domain whose sets a cycle's model is tried on: its own, and at most `retention_sets` earlier ones.

    Of more, the oldest and the newest are kept, and some evenly between; none where `side_tasks` is 0.
    """
    if not config.side_tasks:
        return []
    mine = [one for one in cycles(warehouse) if one.domain == cycle.domain and one.sequence < cycle.sequence]
    if len(mine) > config.retention_sets:
        kept = np.linspace(0, len(mine) - 1, config.retention_sets).round().astype(int)
        mine = [mine[k] for k in sorted(set(kept))]
    return [*mine, cycle]


def cell_of(sums: Iterable[tuple[str, float, float]]) -> Cell:
    """Add up (unit, numerator, denominator)."""
    found: Cell = {}
    for unit, top, bottom in sums:
        a, b = found.get(unit, (0.0, 0.0))
        found[unit] = (a + top, b + bottom)
    return dict(sorted(found.items()))


def retention(
    warehouse: Warehouse, cycle: Cycle, mine: Measured, model: Header, config: EvaluationConfig
) -> dict[str, Any]:
    """The section of a report: its own row as measured, the matrix so far, and backward transfer.

    Other domains' models are not changed by this cycle: their cells are what their champion did on the very same tasks.
    Backward transfer counts the sets of cycles that the model holds or that were promoted: the others were not learned.
    """
    known = champion(warehouse)
    before = [report for report in reports_before(warehouse, cycle) if report["retention"]]
    same = [report for report in before if report["retention"]["metric"] == mine.metric]
    found = {report["cycle"]: Measured.of_json(report["retention"]) for report in same} | {cycle.key: mine}
    domains = {report["cycle"]: report["domain"] for report in same} | {cycle.key: cycle.domain}
    rows = {key: value.row for key, value in found.items() if domains[key] == cycle.domain}
    elsewhere = {key: domain for key, domain in domains.items() if domain != cycle.domain}
    rows[cycle.key] = mine.row | _carried(found, elsewhere, known)
    sets = [key for key in found if any(key in row for row in rows.values())]
    bases = {key: found[key].base for key in sets}
    kept = {row["cycle"] for row in model.info["adapters"]} | known.accepted(cycle.domain).keys()
    earlier = {key: found[key] for key in rows if key in kept and key != cycle.key}
    return {
        "metric": mine.metric,
        "is_lower_better": METRICS[mine.metric],
        "row": mine.row,
        "base": mine.base,
        "sets": sets,
        "rows": {
            name: {key: _shown(row[key], mine.metric, config) for key in sets if row.get(key)}
            for name, row in {BASE_ROW: bases, **rows}.items()
        },
        "not_promoted": [key for key in rows if key != cycle.key and key not in kept],
        "backward_transfer": _transfer(mine, earlier, config),
    }


def _carried(found: Mapping[str, Measured], elsewhere: Mapping[str, str], known: Champion) -> Row:
    """Cells of other domains' sets: what the champion there did on them, the base where there is none."""
    row: Row = {}
    for key, domain in elsewhere.items():
        served = known.domains.get(domain)
        held = found.get(served.cycle) if served else None
        if served is None:
            row[key] = found[key].base
        elif held and key in held.row:
            row[key] = held.row[key]
    return row


def _shown(cell: Cell, metric: str, config: EvaluationConfig) -> dict[str, Any]:
    """A cell's value with its interval, clustered by unit; no interval for a single unit."""
    top, bottom = np.array(list(cell.values()), np.float64).T
    n_units = len(top)
    found = (estimate_share if metric in SHARES else estimate)(
        top, bottom, resamples(n_units, config), config.confidence
    )
    low, high = (found.low, found.high) if n_units > 1 else (None, None)
    n = int(bottom.sum()) if metric == "success" else n_units
    return {"value": found.value, "low": low, "high": high, "n": n, "units": n_units}


# -- backward transfer ------------------------------------------------------------------------------------------------


def _transfer(mine: Measured, earlier: Mapping[str, Measured], config: EvaluationConfig) -> dict[str, Any] | None:
    """Mean change on the sets of earlier cycles since each was learned; None where there is none."""
    pairs = {
        key: (mine.row[key], value.row[key])
        for key, value in earlier.items()
        if mine.row.get(key) and value.row.get(key)
    }
    found = backward_transfer(pairs, is_lower_better=METRICS[mine.metric], config=config)
    if found is None:
        return None
    return {**asdict(found), "verdict": verdict(found, lower_is_better=False), "sets": list(pairs)}


def backward_transfer(
    pairs: Mapping[str, tuple[Cell, Cell]], *, is_lower_better: bool, config: EvaluationConfig
) -> Estimate | None:
    """Mean over task sets of (now - when it was learned), positive is better; `n` counts the sets.

    Its interval resamples units over all sets at once: a place that several sets share is drawn with all its tasks.

    Args:
        pairs: set -> what the model does now, and what the set's own model did when it was new. Only units in both
            count.
        is_lower_better: whether the metric falls as the model gets better.
        config: of the bootstrap.

    Returns:
        None where no set has a unit in both, or all of them together have fewer than two.
    """
    same = {key: sorted(set(now) & set(then)) for key, (now, then) in pairs.items()}
    units = sorted({unit for names in same.values() for unit in names})
    if len(units) < 2:
        return None
    index = {unit: k for k, unit in enumerate(units)}
    draws = np.vstack([np.ones(len(units)), resamples(len(units), config)])
    changes = [
        _rate(pairs[key][0], names, index, draws) - _rate(pairs[key][1], names, index, draws)
        for key, names in same.items()
        if names
    ]
    sign = -1.0 if is_lower_better else 1.0
    # A set without a unit in some draw says nothing there.
    values: NDArray[np.float64] = sign * np.nanmean(np.array(changes), axis=0)
    low, high = np.nanquantile(values[1:], [(1 - config.confidence) / 2, (1 + config.confidence) / 2])
    return Estimate(float(values[0]), float(np.nanstd(values[1:], ddof=1)), float(low), float(high), len(changes))


def _rate(
    cell: Cell, names: Sequence[str], index: Mapping[str, int], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ratio of sums over some units in each draw, shape (draws,); NaN where none of them was drawn."""
    columns = draws[:, [index[name] for name in names]]
    top, bottom = (columns @ np.array([cell[name][k] for name in names], np.float64) for k in (0, 1))
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
