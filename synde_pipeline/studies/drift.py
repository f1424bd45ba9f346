"""Drift: on one day half of the conventions change. How far the arms fall, how fast they recover, who lags.

After every day each arm is tried on held-out tasks of the next day, so the first numbers after the change are those of
an agent that has seen nothing of it. Recovered means back at a share of the success before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.longitudinal import Day, days_for_json, history_of
from synde_pipeline.studies.paired import difference, gain, level, pairs
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against

FULL: dict[str, int] = {"places": 12, "episodes_per_day": 64, "gate_tasks": 48, "report_tasks": 96, "drift_day": 5}
QUICK: dict[str, int] = {"places": 4, "episodes_per_day": 24, "gate_tasks": 32, "report_tasks": 24, "drift_day": 3}
RECOVERED = 0.9
"""Share of the success before the change that counts as recovered."""
Histories = Sequence[Sequence[Day]]
LEARNING = ("context", "weights", "dual")


def plan(run: StudyRun) -> tuple[tuple[int, ...], int, dict[str, int]]:
    """Seeds, days, and the world's knobs."""
    return ((1,), 3, QUICK) if run.is_quick else ((1, 2, 3), 9, FULL)


def study(run: StudyRun) -> list[Claim]:
    """Fall and recovery of each arm."""
    seeds, n_days, knobs = plan(run)
    labs = [history_of(run, seed, n_days, knobs) for seed in seeds]
    day = knobs["drift_day"]
    _show(run, labs, day)
    run.numbers["days"] = {seed: days_for_json(days) for seed, days in zip(seeds, labs, strict=True)}
    return [*_falls(run, labs, day), *_recoveries(run, labs, day)]


def on(days: Sequence[Day], arm: str, number: int) -> list[PlaceSums]:
    """An arm after a day, by place."""
    return list(next(day.arms[arm] for day in days if day.number == number))


def lag(days: Sequence[Day], arm: str, drift_day: int) -> int | None:
    """Days of new conventions that an arm has to live through until it is back; None if it never is.

    What is tried after a day has the conventions of the next one: the day before the change shows the fall, and the one
    before that what there was to lose.
    """
    success = {day.number: day.success(arm) or 0.0 for day in days}
    wanted = RECOVERED * success[drift_day - 2]
    return next((n - (drift_day - 1) for n in sorted(success) if n >= drift_day - 1 and success[n] >= wanted), None)


def _falls(run: StudyRun, labs: Histories, day: int) -> list[Claim]:
    claims = []
    for arm in LEARNING:
        found = gain([on(days, arm, day - 2) for days in labs], [on(days, arm, day - 1) for days in labs])
        what = f"success of {arm} lost on the first day of the new conventions, before anything was seen of them"
        claim = f"What {arm} has learned does not survive a change of the world"
        claims.append(run.claim(f"fall_{arm}", "ours", claim, **found.claimed(against(found.interval), what)))
    dual, none = ([on(days, arm, day - 1) for days in labs] for arm in ("dual", "none"))
    found = gain(dual, none)
    what = "success of dual less no learning at all, on the first day of the new conventions"
    claim = "What both layers know of the old world still helps in the new one"
    return [*claims, run.claim("stale", "ours", claim, **found.claimed(against(found.interval), what))]


def _recoveries(run: StudyRun, labs: Histories, day: int) -> list[Claim]:
    regained = [[_minus(on(days, a, day), on(days, a, day - 1)) for days in labs] for a in ("context", "weights")]
    found = difference(*regained)
    lags = {arm: [lag(days, arm, day) for days in labs] for arm in LEARNING}
    said = "; ".join(f"{arm} {', '.join(map(_days, values))}" for arm, values in lags.items())
    what = (
        "success after one day of new conventions less before it, context less weights "
        f"(days to {RECOVERED:.0%} by seed: {said})"
    )
    claim = "Context adapts immediately, weights periodically: context regains more in one day"
    claims = [run.claim("context_first", "synde.txt 5.4", claim, **found.claimed(against(found.interval), what))]
    for arm in LEARNING:
        last = labs[0][-1].number
        now = [on(days, arm, last) for days in labs]
        wanted = [pairs(on(days, arm, day - 2), times=RECOVERED) for days in labs]
        found = difference([pairs(rows) for rows in now], wanted)
        what = (
            f"success of {arm} after {last - day + 1} days of new conventions ({level(now).text}) less {RECOVERED} "
            "times that before the change"
        )
        claim = f"{arm} recovers from a change of the world"
        claims.append(run.claim(f"recovers_{arm}", "ours", claim, **found.claimed(against(found.interval), what)))
    return claims


def _minus(new: Sequence[PlaceSums], old: Sequence[PlaceSums]) -> list[tuple[float, float]]:
    """By place, tasks solved less those that were solved before, of the same tasks."""
    return [(n.n_success - o.n_success, n.n_tasks) for n, o in zip(new, old, strict=True)]


def _days(value: int | None) -> str:
    return "never" if value is None else str(value)


def _show(run: StudyRun, labs: Histories, drift_day: int) -> None:
    rows: list[dict[str, Any]] = []
    for days in zip(*labs, strict=True):
        line: dict[str, Any] = {"after day": days[0].number, "new conventions": days[0].number >= drift_day - 1}
        for arm in ARMS:
            line[arm] = level([day.arms[arm] for day in days]).text
        line["deployed"] = sum(day.n_success for day in days) / sum(day.n_logs for day in days)
        rows.append(line)
    text = f"Half of all conventions are other ones from day {drift_day} on. {len(labs)} laboratories; means over them."
    drawing, axes = figure(7, 3.4)
    for arm in ARMS:
        axes.plot(
            [day.number for day in labs[0]],
            np.mean([[day.success(arm) or 0.0 for day in days] for days in labs], 0),
            "o-",
            color=ARM_COLOURS[arm],
            label=arm,
            markersize=4,
        )
    axes.axvline(drift_day - 1.5, color="grey", linestyle=":")
    axes.set_xlabel("tried after day (behind the dotted line: on new conventions)")
    axes.set_ylabel("success")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    run.show("Over days", text, rows=rows, plots=[svg(drawing)])
