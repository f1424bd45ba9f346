"""The measurements as tables of means with intervals: what pages, plots and readers of `report.json` look at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synde_pipeline.studies.mechanism.reading import Report, cosines, find, kept, per_unit
from synde_pipeline.studies.mechanism.tried import mean_of

Cell = dict[str, Any]
DISTANCES = ("frobenius", "relative", "cosine", "norm", "other_norm")


def cell(values: Sequence[float]) -> Cell:
    """Mean, 95 % interval and n of some independent values."""
    mean, interval = mean_of(values)
    return {"mean": mean, "interval": interval, "n": len(values)}


def summary(report: Report) -> dict[str, Any]:
    """Every table of the report; the unit is the seed where there are three or more, else the place."""
    return {
        "families": {name: _columns(rows) for name, rows in report["families"].items()},
        "linear attention": _columns(report["linear"]),
        "settings": {name: setting(seeds) for name, seeds in report["settings"].items()},
    }


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Cell]:
    return {name: cell([row[name] for row in rows]) for name in rows[0]}


def setting(seeds: Sequence[Report]) -> dict[str, Any]:
    """One setting's tables."""
    first = seeds[0]
    found: dict[str, Any] = {
        "n_seeds": len(seeds),
        "n_places": [len(seed["without"]) for seed in seeds],
        "error": {
            name: cell(per_unit(seeds, lambda seed, n=name: [row["error"] for row in seed[n]]))
            for name in ("without", "in context")
        },
        "per query": {name: cell(per_unit(seeds, _query(name))) for name in first["per query"][0]},
        "patches": [
            {
                "target": row["target"],
                "rank": row["rank"],
                **_judged(seeds, "patches", target=row["target"], rank=row["rank"]),
            }
            for row in first["patches"]
        ],
        "mean of updates": {"kept": cell(kept(seeds, lambda seed: seed["mean of updates"]))},
        "adapters": [_adapter(seeds, row["recipe"], row["target"]) for row in first["adapters"]],
        "composition": [_composed(seeds, row["what"]) for row in first["composition"]],
    }
    if "acting" in first:
        found["acting"] = {
            name: cell(per_unit(seeds, lambda seed, n=name: seed["acting"][n])) for name in first["acting"]
        }
    return found


def _query(name: str) -> Callable[[Report], list[float]]:
    return lambda seed: [row[name] for row in seed["per query"]]


def _judged(seeds: Sequence[Report], part: str, **knobs: Any) -> dict[str, Cell]:
    rows = [find(seed[part], **knobs)["rows"] for seed in seeds]
    names = [name for name in rows[0][0] if name != "error"]
    others = {
        name: cell(per_unit(seeds, lambda seed, n=name: [row[n] for row in find(seed[part], **knobs)["rows"]]))
        for name in names
    }
    return {"kept": cell(kept(seeds, lambda seed: find(seed[part], **knobs)["rows"])), **others}


def _adapter(seeds: Sequence[Report], recipe: str, target: str) -> dict[str, Any]:
    knobs = {"recipe": recipe, "target": target}
    found: dict[str, Any] = {**knobs, **_judged(seeds, "adapters", **knobs)}
    for pair in ("to_patch", "to_nearest_query", "to_other_seed"):
        found[pair] = {name: cell(per_unit(seeds, _column(knobs, pair, name))) for name in DISTANCES}
    return found


def _column(knobs: dict[str, str], pair: str, name: str) -> Callable[[Report], list[float]]:
    return lambda seed: [row[name] for row in find(seed["adapters"], **knobs)[pair]]


def _composed(seeds: Sequence[Report], what: str) -> dict[str, Any]:
    def rows(seed: Report) -> Any:
        return find(seed["composition"], what=what)["rows"]

    return {
        "what": what,
        "kept alone": cell(kept(seeds, lambda seed: [{"error": row["own"]} for row in rows(seed)])),
        "kept with another": cell(kept(seeds, rows)),
        "cosine": cell(per_unit(seeds, lambda seed: cosines(rows(seed)))),
    }
