"""Scalability (section 11.3): context tokens, memory and adapter bytes over the days, and what a task costs each arm.

Tokens and bytes are read off the long history (`longitudinal`). Latency is CPU time of single tasks, one after another
on one core, the arms in turn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synde_pipeline.base_model import one_thread
from synde_pipeline.evaluation.plots import figure, svg
from synde_pipeline.simulation.lab import Timed
from synde_pipeline.studies.fits import fits, lead
from synde_pipeline.studies.longitudinal import Day, history, laboratory, plan
from synde_pipeline.studies.paired import (
    Arms,
    Table,
    act,
    difference,
    gain,
    kept,
    level,
    mean_of,
    nothing,
    one_by_one,
    over_seeds,
    pairs,
    side_by_side,
    span,
)
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against
from synde_pipeline.studies.worlds import Laboratory

AIC_MARGIN = 2.0
"""A difference in AIC below two says little (Burnham and Anderson 2002)."""
N_TIMED = {"quick": 12, "full": 48}
"""Tasks that are timed alone."""
TINY = 0.01
"""Bytes of an adapter, as a share of the base's, up to which it counts as tiny."""
STORAGE = ("storage", "synde.txt 3.3", "Weights take less storage than context tokens")
TINY_SIZE = ("tiny", "synde.txt 10.3, 11.3", "Rank-1 adapters are tiny")
TOKEN_BYTES = 4
"""Of a stored token: an int32 id, about what its text takes too."""
OVERHEAD = 0.05
"""Slowing that still counts as none: what repeated timings differ by on a quiet machine."""
ABSORBED = 0.9
"""Share of the success with memory that weights alone must reach."""


def study(run: StudyRun) -> list[Claim]:
    """Growth and costs."""
    seeds, _, _ = plan(run)
    labs = [history(run, seed) for seed in seeds]
    timings = [
        kept(run, {"timed": seed, "n": N_TIMED[run.preset]}, lambda seed=seed: _timed(run, seed)) for seed in seeds
    ]
    table = {name: [one[name] for one in timings] for name in timings[0]}
    base_bytes = run.part({"base": 1}, lambda: _base_bytes(run, seeds[0]))
    _show(run, labs, table, base_bytes)
    return [*_growth(run, labs, base_bytes), *_costs(run, labs, table)]


def _base_bytes(run: StudyRun, seed: int) -> int:
    mine, _ = laboratory(run, seed)
    return sum(p.numel() * p.element_size() for p in mine.lab.base.model.parameters())


def _timed(run: StudyRun, seed: int) -> Arms:
    mine, _ = laboratory(run, seed)
    with one_thread():
        return timed_arms(mine, N_TIMED[run.preset])


def timed_arms(mine: Laboratory, n_tasks: int) -> Arms:
    """The four arms, each task alone."""
    tasks = mine.tasks[:n_tasks]
    shown = mine.lab.recall(tasks, mine.last_day)
    with side_by_side(mine) as bank:
        ways: dict[str, Callable[[int], Timed]] = {
            "none": lambda k: act(mine, [tasks[k]]),
            "context": lambda k: act(mine, [tasks[k]], memory=[shown[k]]),
            "weights": lambda k: act(mine, [tasks[k]], bank=bank, routes=[mine.routes[k]]),
            "dual": lambda k: act(mine, [tasks[k]], memory=[shown[k]], bank=bank, routes=[mine.routes[k]]),
        }
        return one_by_one(len(tasks), ways)


# -- growth ---------------------------------------------------------------------------------------------------------


def _growth(run: StudyRun, labs: Sequence[Sequence[Day]], base_bytes: int) -> list[Claim]:
    n_days = len(labs[0])
    few = nothing(f"{n_days} days are too few to tell curves apart: preset full lives more")
    claims = []
    for name, claim, kind, values in (
        (
            "context",
            "Logarithmic context growth: tokens shown to a task",
            "logarithmic",
            lambda day: day.tokens("dual"),
        ),
        ("memory", "Logarithmic context growth: tokens of all memory", "logarithmic", lambda day: day.memory_tokens),
        ("weights", "Linear weight growth: bytes of the adapters served", "linear", lambda day: day.served_bytes),
    ):
        found = [fits([day.number for day in days], [float(values(day)) for day in days]) for days in labs]
        said = few
        if all(found):
            leads = over_seeds([lead(one, kind) for one in found])
            best = ", ".join(min(one.values(), key=lambda fit: fit.aic).kind for one in found)
            what = f"lead of the {kind} curve in AIC; more than {AIC_MARGIN:g} counts (best by seed: {best})"
            said = leads.claimed(against(leads.interval, AIC_MARGIN), what)
        claims.append(run.claim(f"{name}_growth", "synde.txt 11.3", claim, **said))
    ends = [days[-1] for days in labs if days[-1].n_adapters]
    if not ends:
        none = nothing("no cycle was accepted")
        return [*claims, *(run.claim(*said, **none) for said in (STORAGE, TINY_SIZE))]
    shares = span([day.served_bytes / day.n_adapters / base_bytes for day in ends])
    every = span([day.served_bytes / base_bytes for day in ends])
    stored = span([day.served_bytes / (TOKEN_BYTES * max(1, day.memory_tokens)) for day in ends])
    what = f"bytes of all adapters served, over {TOKEN_BYTES} for each token of all memory, on the last day"
    verdict = against(stored.interval, 1.0, wanted="below")
    claims.append(run.claim(*STORAGE, **stored.claimed(verdict, what)))
    what = (
        f"bytes of an adapter as a share of the base's {base_bytes}, up to {TINY} counts; all that are served on the "
        f"last day together are {every.text}"
    )
    verdict = against(shares.interval, TINY, wanted="below")
    claims.append(
        run.claim("tiny", "synde.txt 10.3, 11.3", "Rank-1 adapters are tiny", **shares.claimed(verdict, what))
    )
    return claims


# -- costs ----------------------------------------------------------------------------------------------------------


def _costs(run: StudyRun, labs: Sequence[Sequence[Day]], table: Table) -> list[Claim]:
    faster = gain(table["weights"], table["context"], "seconds")
    plain = level(table["context"], "seconds")
    what = f"CPU seconds of a task, weights less context, unbatched; context takes {plain.text}"
    claim = "Reduced inference cost: weights are faster than context"
    said = faster.claimed(against(faster.interval, wanted="below"), what)
    claims = [run.claim("latency", "synde.txt 11.3", claim, **said)]
    each = {arm: [pairs(rows, "seconds", "n_steps") for rows in table[arm]] for arm in ("weights", "none")}
    slower, plain = difference(each["weights"], each["none"]), mean_of(each["none"])
    limit = OVERHEAD * (plain.value or 0.0)
    what = f"CPU seconds of an action, unmerged adapter less base ({plain.text}); up to {limit:.2g} counts as none"
    said = slower.claimed(against(slower.interval, limit, wanted="below"), what)
    claim = "Zero inference overhead of weights that are not merged"
    claims.append(run.claim("zero_overhead", "synde.txt 5.4", claim, **said))
    last = [days[-1].arms for days in labs]
    wanted = [pairs(arms["dual"], times=ABSORBED) for arms in last]
    absorbed = difference([pairs(arms["weights"]) for arms in last], wanted)
    what = f"success of weights on the last day, all open places, less {ABSORBED} times that of dual"
    said = absorbed.claimed(against(absorbed.interval), what)
    claim = "Weights absorb common patterns: they need memory no longer"
    return [*claims, run.claim("absorbed", "synde.txt 11.3", claim, **said)]


# -- showing --------------------------------------------------------------------------------------------------------


def _show(run: StudyRun, labs: Sequence[Sequence[Day]], table: Table, base_bytes: int) -> None:
    lines: list[dict[str, Any]] = []
    for days in zip(*labs, strict=True):
        columns = ("memory_items", "memory_tokens", "n_adapters", "served_bytes", "stored_bytes")
        means = {name.replace("_", " "): float(np.mean([getattr(day, name) for day in days])) for name in columns}
        tokens = float(np.mean([day.tokens("dual") for day in days]))
        lines.append({"day": days[0].number, "places": len(days[0].scopes), "context tokens": tokens, **means})
    text = f"Means of {len(labs)} laboratories. The base has {base_bytes} bytes."
    run.show("Growth", text, rows=lines, plots=[_plot(lines, "context tokens"), _plot(lines, "served bytes")])
    costs = [
        {
            "arm": arm,
            "CPU s a task": level(found, "seconds").text,
            "actions a task": level(found, "n_steps").text,
            "context tokens": level(found, "n_context_tokens").text,
            "success": level(found).text,
        }
        for arm, found in table.items()
    ]
    run.show("What a task costs", "One task after another, on one core.", rows=costs)
    run.numbers |= {"growth": lines, "costs": costs}


def _plot(lines: Sequence[dict[str, Any]], name: str) -> str:
    drawing, axes = figure(5, 2.6)
    axes.plot([line["day"] for line in lines], [line[name] for line in lines], "o-", markersize=3)
    axes.set_xlabel("day")
    axes.set_ylabel(name)
    axes.set_ylim(bottom=0)
    return svg(drawing)
