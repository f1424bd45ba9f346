"""Compounding improvement (RQ4): four arms over 30 days with new places, which curve they follow, what is forgotten.

Success is on held-out tasks at all places that are open on the day; a place opens every day, so there is always
something that nobody knows. Curves are fitted to each seed's days (`fits`). Forgetting is success at the places of the
first day alone, early and late.
"""

from collections.abc import Sequence

import numpy as np

from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.fits import Fit, fits, lead
from synde_pipeline.studies.longitudinal import Day, days_for_json, history, lines, opened, plan, users, window
from synde_pipeline.studies.paired import difference, gain, nothing, over_seeds
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against

AIC_MARGIN = 2.0
"""A difference in AIC below two says little (Burnham and Anderson 2002)."""
FORGOTTEN = 0.05
"""Loss of success at the first places that counts as forgetting."""
SETTLED = 10
"""Day from which on the first day's places have been learned."""
YOUNG = 2
"""Age in days up to which a place counts as novel: seldom has a cycle been trained on it."""

Histories = Sequence[Sequence[Day]]


def study(run: StudyRun) -> list[Claim]:
    """Trajectory, curves, forgetting, users."""
    seeds, _, _ = plan(run)
    labs = [history(run, seed) for seed in seeds]
    curves = {arm: [fits([d.number for d in days], _values(days, arm)) for days in labs] for arm in ARMS[1:]}
    _show(run, labs, curves)
    run.numbers["days"] = {seed: days_for_json(days) for seed, days in zip(seeds, labs, strict=True)}
    return [
        *_accumulation(run, labs),
        *_curves(run, curves, len(labs[0])),
        *_forgetting(run, labs),
        _novel(run, labs),
        _users(run, labs),
    ]


def _values(days: Sequence[Day], arm: str) -> list[float]:
    return [day.success(arm) or 0.0 for day in days]


def thirds(days: Sequence[Day]) -> tuple[Sequence[Day], Sequence[Day]]:
    """The first and the last third of a history."""
    n = max(1, len(days) // 3)
    return days[:n], days[-n:]


def _accumulation(run: StudyRun, labs: Histories) -> list[Claim]:
    claims = []
    for arm in ("context", "weights", "dual"):
        first, last = ([window(days, thirds(days)[k], arm) for days in labs] for k in (0, 1))
        found = gain(last, first)
        what = f"success of {arm} on the last third of {len(labs[0])} days less the first third, all open places"
        said = found.claimed(against(found.interval), what)
        claims.append(
            run.claim(f"accumulate_{arm}", "synde.txt 9.1, RQ4", f"Capabilities accumulate over time: {arm}", **said)
        )
    return claims


def _curves(run: StudyRun, curves: dict[str, list[dict[str, Fit]]], n_days: int) -> list[Claim]:
    claims = []
    for arm, found in curves.items():
        claim = f"Logarithmic improvement curve: {arm}"
        if not all(found):
            said = nothing(f"{n_days} days are too few to tell curves apart: preset full lives more")
        else:
            leads = over_seeds([lead(one, "logarithmic") for one in found])
            best = ", ".join(min(one.values(), key=lambda fit: fit.aic).kind for one in found)
            what = (
                "lead of the logarithmic curve in AIC over the best of flat, linear and saturating; more than "
                f"{AIC_MARGIN:g} counts (best by seed: {best})"
            )
            said = leads.claimed(against(leads.interval, AIC_MARGIN), what)
        claims.append(run.claim(f"logarithmic_{arm}", "synde.txt 9.1, RQ4", claim, **said))
    return claims


def _forgetting(run: StudyRun, labs: Histories) -> list[Claim]:
    claims = []
    for arm in ("weights", "dual", "context"):
        said = nothing(f"takes {2 * SETTLED} days or more: preset full lives them")
        if len(labs[0]) >= 2 * SETTLED:
            early, late = zip(*(early_and_late(days, arm) for days in labs), strict=True)
            found = gain(early, late)
            what = (
                f"success of {arm} at the first day's places from day {SETTLED} on less at the end, a quarter of the "
                f"days each; less than {FORGOTTEN} counts as none"
            )
            said = found.claimed(against(found.interval, FORGOTTEN, wanted="below"), what)
        claims.append(
            run.claim(f"kept_{arm}", "synde.txt 8.3, 9.2", f"No catastrophic forgetting over days: {arm}", **said)
        )
    return claims


def early_and_late(days: Sequence[Day], arm: str) -> tuple[list[PlaceSums], list[PlaceSums]]:
    """An arm at the first day's places: a quarter of all days from `SETTLED` on, and as many at the end."""
    first, n = days[0].scopes, len(days) // 4

    def at_first(_: Day, scope: str) -> bool:
        return scope in first

    start = SETTLED - 1
    return window(days, days[start : start + n], arm, at_first), window(days, days[-n:], arm, at_first)


def _novel(run: StudyRun, labs: Histories) -> Claim:
    """Places that opened in the last days, the first day's apart: context against weights."""
    sums: dict[str, list[list[PlaceSums]]] = {"context": [], "weights": []}
    for days in labs:
        since = opened(days)

        def is_young(day: Day, scope: str, since: dict[str, int] = since) -> bool:
            return since[scope] > 1 and day.number - since[scope] < YOUNG

        for arm, found in sums.items():
            found.append(window(days, days, arm, is_young))
    found = gain(sums["context"], sums["weights"])
    what = f"success of context less weights at places that have been open for at most {YOUNG} days"
    claim = "Context adapts immediately where weights have not been trained yet"
    return run.claim("novel", "synde.txt 5.4", claim, **found.claimed(against(found.interval), what))


def _users(run: StudyRun, labs: Histories) -> Claim:
    first, last = ([users(days, thirds(days)[k]) for days in labs] for k in (0, 1))
    found = difference(last, first)
    n_first, n_last = (round(sum(n for one in side for _, n in one)) for side in (first, last))
    what = (
        "mean score (0 to 1: success, less what it took too long) that simulated users give the deployed agent, last "
        f"third of the days ({n_last} scores) less the first ({n_first})"
    )
    claim = "Simulated users grow more content (a metric of the protocol: it predicts nothing)"
    return run.claim("users", "synde.txt C.3", claim, **found.claimed(against(found.interval), what))


# -- showing --------------------------------------------------------------------------------------------------------


def _show(run: StudyRun, labs: Histories, curves: dict[str, list[dict[str, Fit]]]) -> None:
    n_logs = [sum(day.n_logs for day in days) for days in labs]
    text = (
        f"{len(labs)} laboratories of {len(labs[0])} days, {n_logs[0]} logs each; places open daily. Each arm tries "
        f"{sum(row.n_tasks for row in labs[0][0].arms['none'])} held-out tasks after every day."
    )
    run.show("Over days", text, rows=lines(labs), plots=[_trajectory(labs, curves)])
    rows = [
        {
            "arm": arm,
            "seed": k + 1,
            **{kind: fit.aic for kind, fit in one.items()},
            "log leads by": lead(one, "logarithmic"),
        }
        for arm, found in curves.items()
        for k, one in enumerate(found)
        if one
    ]
    run.show("Curves by AIC", "The smaller, the better.", rows=rows)
    run.numbers["fits"] = rows


def _trajectory(labs: Histories, curves: dict[str, list[dict[str, Fit]]]) -> str:
    drawing, axes = figure(8, 4)
    numbers = [day.number for day in labs[0]]
    for arm in ARMS:
        values = np.array([_values(days, arm) for days in labs])
        axes.plot(numbers, values.mean(0), "o", color=ARM_COLOURS[arm], label=arm, markersize=3)
        if len(labs) > 1:
            axes.fill_between(numbers, values.min(0), values.max(0), color=ARM_COLOURS[arm], alpha=0.12, linewidth=0)
        for kind, style in (("logarithmic", "-"), ("saturating", "--")):
            if arm in curves and all(curves[arm]):
                axes.plot(
                    numbers,
                    np.mean([one[kind].at(numbers) for one in curves[arm]], 0),
                    style,
                    color=ARM_COLOURS[arm],
                    linewidth=0.8,
                )
    axes.set_xlabel("day (solid: logarithmic fit, dashed: saturating; bands: all seeds)")
    axes.set_ylabel("success on held-out tasks")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return svg(drawing)
