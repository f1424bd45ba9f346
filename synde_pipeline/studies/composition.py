"""Web, code and math adapters: each alone, routed, summed, joint and one after the other; are they orthogonal?

Theorem 3 says that rank-1 adapters add. In weights they do, exactly; what that does to behaviour is measured by acting.
How six cycles of one domain are composed is in `cycles_composed`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from synde_pipeline.base_model import load, one_thread
from synde_pipeline.evaluation.plots import bars, figure, svg
from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.angles import Overlap, additivity, overlaps, weights_error
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.trials import (
    Sums,
    act,
    adapters_of,
    as_json,
    days,
    from_json,
    gain,
    over,
    rows_by_domain,
    seeds,
    training,
    what,
)
from synde_pipeline.studies.verdicts import against, exactly
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.lora import AdapterWeights

KEEPS = -0.05
"""Loss of success up to which something counts as kept: half of what no hint at all solves."""
ADDS = 0.1
"""Relative error of summed changes of logits below which functions count as additive."""
ITEMS = 3


def study(run: StudyRun) -> Sequence[Claim]:
    """Train, compose in every way, act; the same laboratories as the other studies."""
    found = []
    for seed in seeds(run):
        laboratory, _ = lived(run, seed, days(run))
        key = {"seed": seed, "days": days(run), "training": training(run).model_dump()}
        found.append(run.part(key, lambda lab=laboratory: _one_seed(run, lab)))
    run.numbers["seeds"] = found
    _show(run, found)
    return _claims(run, found)


def _one_seed(run: StudyRun, laboratory: Laboratory) -> dict[str, Any]:
    with one_thread():
        rows = rows_by_domain(laboratory)
        domains = sorted(rows)
        config = training(run)
        base = laboratory.lab.base
        alone = adapters_of(base.model, [rows[domain] for domain in domains], config)
        other = adapters_of(base.model, [rows[d] for d in domains], config.model_copy(update={"seed": 1}))
        every = [row for domain in domains for row in rows[domain]]
        joint = {
            rank: adapters_of(base.model, [every], training(run, len(domains), rank=rank))[0]
            for rank in (1, len(domains))
        }
        ways = dict(_ways(laboratory, domains, (alone, joint), config, rows))
        return {
            "domains": domains,
            "ways": ways,
            "overlaps": [one._asdict() for one in overlaps(domains, alone, other)],
            "additivity": additivity(base, alone, laboratory.tasks, laboratory.lab.encoder),
            "weights_error": weights_error(load(laboratory.lab.warehouse).model, alone),
        }


def _ways(
    laboratory: Laboratory, domains: Sequence[str], trained: tuple[Any, Any], config: Any, rows: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way with its runs: without memory, with it, and the probe of general skill."""
    alone, joint = trained
    warehouse = laboratory.lab.warehouse

    def merged(parts: Sequence[tuple[AdapterWeights, float]]) -> Any:
        return add_adapters(load(warehouse).model, parts)

    own = {domain: k for k, domain in enumerate(domains)}
    yield "base", _cells(laboratory)
    yield "alone (routed)", _cells(laboratory, adapters=(alone, own))
    wrong = {domain: (k + 1) % len(domains) for domain, k in own.items()}
    yield "another domain's", _cells(laboratory, adapters=(alone, wrong))
    yield "summed", _cells(laboratory, model=merged([(adapter, 1.0) for adapter in alone]))
    yield "mean", _cells(laboratory, model=merged([(adapter, 1 / len(alone)) for adapter in alone]))
    for rank, adapter in joint.items():
        yield f"joint, rank {rank}", _cells(laboratory, model=merged([(adapter, 1.0)]))
    model = load(warehouse).model
    for domain in domains:
        add_adapters(model, [(adapters_of(model, [rows[domain]], config)[0], 1.0)])
    yield "one after the other", _cells(laboratory, model=model)


def _cells(laboratory: Laboratory, *, model: Any = None, adapters: tuple[Any, dict[str, int]] | None = None) -> Any:
    def sums(tasks: Sequence[Task], items: Any) -> Any:
        routed = None
        if adapters:
            routed = adapters[0], [adapters[1].get(task.place.world.domain, -1) for task in tasks]
        return as_json(act(laboratory, tasks, items=items, model=model, adapters=routed))

    config = laboratory.lab.settings.simulation
    assert config is not None  # noqa: S101 - a laboratory
    day = day_number(laboratory.last_day) + 1
    probe = held_out_tasks(new_places(config, 24), "report", len(laboratory.tasks) // 2, day)
    told = [hints(task, GATES[1], config.seed) for task in probe]
    return {
        "weights": sums(laboratory.tasks, 0),
        "dual": sums(laboratory.tasks, ITEMS),
        "probe": sums(probe, told),
    }


# -- what it says ----------------------------------------------------------------------------------------------------


def _runs(found: Sequence[dict[str, Any]], way: str, cell: str) -> list[Sums]:
    return [from_json(one["ways"][way][cell]) for one in found]


def _claims(run: StudyRun, found: Sequence[dict[str, Any]]) -> list[Claim]:
    def difference(way: str, other: str, cell: str) -> dict[str, Any]:
        return gain(list(zip(_runs(found, way, cell), _runs(found, other, cell), strict=True)))

    errors = [one["weights_error"] for one in found]
    functions = [one["additivity"]["relative_error"] for one in found]
    kept = difference("summed", "alone (routed)", "weights")
    general = difference("summed", "base", "probe")
    joint = difference("alone (routed)", "joint, rank 1", "weights")
    after = difference("one after the other", "alone (routed)", "weights")
    overlap = _overlap_difference(found)
    interval = mean_interval(functions)
    return [
        run.claim(
            "weights", "synde.txt theorem 3", "Rank-1 adapters combine additively in the weights",
            measured=max(errors), error=None, n=len(errors), verdict=exactly(errors, 1e-6),
            what="largest relative error of merged weights against base + sum (float64); n = seeds",
        ),
        run.claim(
            "function", "synde.txt theorem 3", "Adapters combine additively in what the model does",
            measured=float(np.mean(functions)), error=interval[1] if interval else None, n=len(functions),
            verdict=against(interval[1] if interval else (functions[0], functions[0]), ADDS, wanted="below"),
            what="relative error of the sum of the changes of logits; n = seeds",
        ),
        run.claim(
            "summed", "synde.txt 4.4", "Summed adapters keep what each of them learned alone",
            **kept, verdict=against(kept["error"], KEEPS), what=what(run, "success by weights, summed minus routed"),
        ),
        run.claim(
            "general", "synde.txt 4.4", "Summed adapters keep the base's general skill",
            **general, verdict=against(general["error"], KEEPS), what=what(run, "success on new places with all facts"),
        ),
        run.claim(
            "orthogonal", "synde.txt 4.4", "Adapters of different domains span orthogonal subspaces",
            **overlap, verdict=against(overlap["error"], 0.0, wanted="below"),
            what="|cos| of two domains' inputs (A) minus that of random directions; n = pairs of domains over seeds",
        ),
        run.claim(
            "routed", "ours", "A router between adapters beats one joint adapter of equal rank and steps",
            **joint, verdict=against(joint["error"]), what=what(run, "success by weights, routed minus joint rank 1"),
        ),
        run.claim(
            "sequential", "synde.txt 8.3", "Adapters trained one after the other keep what each learned",
            **after, verdict=against(after["error"], KEEPS), what=what(run, "success by weights, against routed"),
        ),
    ]  # fmt: skip


def _overlap_difference(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = [Overlap(**row) for one in found for row in one["overlaps"] if row["kind"] == "domains"]
    values = [row.a - row.a_random for row in rows]
    interval = mean_interval(values)
    return {"measured": float(np.mean(values)), "error": interval[1] if interval else None, "n": len(values)}


def _show(run: StudyRun, found: Sequence[dict[str, Any]]) -> None:
    ways = list(found[0]["ways"])
    table = []
    for way in ways:
        row: dict[str, Any] = {"way": way}
        for cell in ("weights", "dual", "probe"):
            one = over(_runs(found, way, cell))
            row |= {cell: one["measured"], f"{cell}, 95 %": one["error"]}
        table.append(row)
    run.show(
        "Ways to compose",
        f"Success without memory, with {ITEMS} items, and on places never seen with every fact told (general skill).",
        rows=table,
        plots=[_plot(ways, found, cell) for cell in ("weights", "dual", "probe")],
    )
    rows = [{"seed": k + 1, **row} for k, one in enumerate(found) for row in one["overlaps"]]
    text = "Mean |cos| of two adapters' A (inputs) and B (outputs) over all matrices; random: of equal dimension."
    run.show("Angles", text, rows=rows)
    run.show("Additivity of functions", rows=[one["additivity"] for one in found])


def _plot(ways: Sequence[str], found: Sequence[dict[str, Any]], cell: str) -> str:
    drawing, axes = figure(4.4, 2.8)
    for k, way in enumerate(ways):
        one = over(_runs(found, way, cell))
        error = bars(one["measured"], *one["error"])
        axes.errorbar([one["measured"]], [k], xerr=error, fmt="o", capsize=3, color="#2b6cb0")
    axes.set_yticks(range(len(ways)), ways)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_title(f"success: {cell}", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return svg(drawing)
