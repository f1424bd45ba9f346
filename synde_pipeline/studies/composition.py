"""Web, code and math adapters: each alone, routed, summed, joint and one after the other; are they orthogonal?

Theorem 3 says that rank-1 adapters add. In weights they do, exactly; what that does to behaviour is measured by acting.
How six cycles of one domain are composed is in `cycles_composed`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from synde_pipeline.base_model import load, one_thread
from synde_pipeline.evaluation.plots import bars, figure, svg
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline.studies.angles import Overlap, additivity, overlaps, weights_error
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.learning import adapters_of, days, rows_by_domain, seeds, training
from synde_pipeline.studies.paired import Arms, Found, over_seeds
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, exactly
from synde_pipeline.studies.ways import (
    ITEMS,
    KEEPS,
    Tried,
    Way,
    acted,
    gained,
    known_places,
    levels,
    new_tasks,
    reached,
    tried,
)
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow

ADDS = 0.1
"""Relative error of summed changes of logits below which functions count as additive."""


def study(run: StudyRun) -> Sequence[Claim]:
    """Train, compose in every way, act; the same laboratories as the other studies."""
    found = tried(run, _ways(run))
    with one_thread():
        angles = [run.part({"seed": k, "preset": run.preset}, lambda k=k: _angles(run, k)) for k in seeds(run)]
    run.numbers["adapters"] = angles
    _show(run, found, angles)
    return [*_claims(run, found), *_claims_of_adapters(run, angles)]


def _ways(run: StudyRun) -> dict[str, Way]:
    alone = lru_cache(maxsize=1)(lambda mine: _alone(run, mine))  # one laboratory after the other

    def routed(shift: int = 0) -> Way:
        def way(mine: Laboratory) -> Arms:
            adapters, domains = alone(mine), list(alone(mine))
            turned = [*domains[shift:], *domains[:shift]]
            return _cells(mine, {domain: adapters[other] for domain, other in zip(domains, turned, strict=True)})

        return way

    def merged(weight: float) -> Way:
        return lambda mine: _merged(mine, [(adapter, weight) for adapter in alone(mine).values()])

    def joint(rank: int) -> Way:
        def way(mine: Laboratory) -> Arms:
            rows = _rows(mine)
            every = [row for mine in rows.values() for row in mine]
            config = training(run, len(rows), rank=rank)
            return _merged(mine, [(adapters_of(mine.lab.base.model, {"joint": every}, config)["joint"], 1.0)])

        return way

    def in_turn(mine: Laboratory) -> Arms:
        model = load(mine.lab.warehouse).model
        for domain, rows in _rows(mine).items():
            add_adapters(model, [(adapters_of(model, {domain: rows}, training(run))[domain], 1.0)])
        return _cells(mine, model=model)

    return {
        "base": _cells,
        "alone (routed)": routed(),
        "another domain's": routed(1),
        "summed": merged(1.0),
        "mean": merged(1 / len(WORLDS)),
        **{f"joint, rank {rank}": joint(rank) for rank in (1, len(WORLDS))},
        "one after the other": in_turn,
    }


def _rows(mine: Laboratory) -> dict[str, list[ShardRow]]:
    return dict(sorted(rows_by_domain(mine).items()))


def _alone(run: StudyRun, mine: Laboratory, seed: int = 0) -> dict[str, AdapterWeights]:
    return adapters_of(mine.lab.base.model, _rows(mine), training(run, seed=seed))


def _merged(mine: Laboratory, parts: Sequence[tuple[AdapterWeights, float]]) -> Arms:
    return _cells(mine, model=add_adapters(load(mine.lab.warehouse).model, parts))


def _cells(mine: Laboratory, adapters: dict[str, AdapterWeights] | None = None, model: Any = None) -> Arms:
    """Without memory, with it, and the probe of general skill."""
    probe = new_tasks(mine)
    told = [hints(task, GATES[1], mine.config.seed) for task in probe]
    return acted(mine, {**known_places(mine), "probe": (probe, told)}, adapters or {}, model)


def _angles(run: StudyRun, seed: int) -> dict[str, Any]:
    """What adapters are to each other, without acting."""
    mine, _ = lived(run, seed, days(run))
    domains = list(_rows(mine))
    alone, other = (list(_alone(run, mine, k).values()) for k in (0, 1))
    return {
        "overlaps": [one._asdict() for one in overlaps(domains, alone, other)],
        "additivity": additivity(mine.lab.base, alone, mine.tasks, mine.lab.encoder),
        "weights_error": weights_error(load(mine.lab.warehouse).model, alone),
    }


# -- what it says ----------------------------------------------------------------------------------------------------


def _claims(run: StudyRun, found: Tried) -> list[Claim]:
    said = [
        ("summed", "synde.txt 12.2", "Summed adapters keep what each of them learned alone", "summed", "alone (routed)",
         "weights", KEEPS, "success by weights, summed minus routed"),
        ("general", "ours", "Summed adapters keep the base's general skill", "summed", "base", "probe", KEEPS,
         "success on new places with all facts"),
        ("routed", "ours", "A router between adapters beats one joint adapter of equal rank and steps",
         "alone (routed)", "joint, rank 1", "weights", 0.0, "success by weights, routed minus joint rank 1"),
        ("mean", "synde.txt 7.3", "Averaged adapters keep what each of them learned alone", "mean", "alone (routed)",
         "weights", KEEPS, "success by weights, mean minus routed"),
        ("sequential", "synde.txt 8.2", "Adapters merged one after the other, unguarded, keep what each learned",
         "one after the other", "alone (routed)", "weights", KEEPS, "success by weights, against routed"),
    ]  # fmt: skip
    return [
        run.claim(name, source, text, **gained(found, new, old, cell).above(threshold, what))
        for name, source, text, new, old, cell, threshold, what in said
    ]


def _claims_of_adapters(run: StudyRun, angles: Sequence[dict[str, Any]]) -> list[Claim]:
    errors = [one["weights_error"] for one in angles]
    largest = Found(max(errors), None, len(errors), "seeds")
    functions = over_seeds([one["additivity"]["relative_error"] for one in angles])
    mean = functions.value or 0.0
    rows = [Overlap(**row) for one in angles for row in one["overlaps"] if row["kind"] == "domains"]
    overlap = replace(
        over_seeds([max(row.a - row.a_random, row.b - row.b_random) for row in rows]),
        units="pairs of domains over seeds",
    )
    return [
        run.claim(
            "weights", "synde.txt 7.3", "Rank-1 adapters combine additively in the weights",
            **largest.claimed(
                exactly(errors, 1e-6), "largest relative error of merged weights against base + sum (float64)"
            ),
        ),
        run.claim(
            "function", "synde.txt 12.2", "Adapters combine additively in what the model does",
            **functions.claimed(
                against(functions.interval or (mean, mean), ADDS, wanted="below"),
                "relative error of the sum of the changes of logits",
            ),
        ),
        run.claim(
            "orthogonal", "synde.txt 7.3", "Adapters of different domains read and write orthogonal directions",
            **overlap.claimed(
                against(overlap.interval, wanted="below"),
                "|cos| of two domains' inputs (A) or outputs (B), whichever is larger, minus that of random directions",
            ),
        ),
    ]  # fmt: skip


def _show(run: StudyRun, found: Tried, angles: Sequence[dict[str, Any]]) -> None:
    run.show(
        "Ways to compose",
        f"Success without memory, with {ITEMS} items, and on places never seen with every fact told (general skill).",
        rows=levels(found, "way"),
        plots=[_plot(found, cell) for cell in found["base"][0]],
    )
    rows = [{"seed": k + 1, **row} for k, one in enumerate(angles) for row in one["overlaps"]]
    text = "Mean |cos| of two adapters' A (inputs) and B (outputs) over all matrices; random: of equal dimension."
    run.show("Angles", text, rows=rows)
    run.show("Additivity of functions", rows=[one["additivity"] for one in angles])


def _plot(found: Tried, cell: str) -> str:
    drawing, axes = figure(4.4, 2.8)
    for k, way in enumerate(found):
        one = reached(found, way, cell)
        value = one.value or 0.0
        error = bars(value, *(one.interval or (value, value)))
        axes.errorbar([value], [k], xerr=error, fmt="o", capsize=3, color="#2b6cb0")
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_title(f"success: {cell}", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return svg(drawing)
