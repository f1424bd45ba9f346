"""Case study, web navigation (section 10): its table and its learned patterns, in our world and with our numbers.

A thousand logs of the long history (`longitudinal`), then held-out tasks on the sites that are open: no learning, five
raw successful trajectories in context, as many memory items, three, adapters, both. Latency is CPU time of a single
task. What an adapter has learned (10.4) is read off behaviour: the same tasks with and without it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.case_arms import TABLE, measured
from synde_pipeline.studies.longitudinal import history, laboratory, lines, plan
from synde_pipeline.studies.paired import Column, Pairs, difference, gain, level, mean_of, places_of
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import HOLDS, UNDECIDED, against

PAPER = {"examples": (0.594, 1000, 2.3), "weights": (0.572, 0, 1.1), "dual": (0.641, 300, 1.4)}
"""Success, context tokens and seconds that section 10 prints; they name no run."""
BEHIND = 0.022
"""How far weights are behind five examples there."""
N_TASKS = {"quick": 64, "full": 480}
N_TIMED = {"quick": 8, "full": 32}
"""Tasks that are timed alone."""

Arms = Mapping[str, Sequence[Sequence[PlaceSums]]]
Probes = Mapping[str, Sequence[Pairs]]


def study(run: StudyRun) -> list[Claim]:
    """The table, what users think, and the probes."""
    seeds, _, _ = plan(run)
    n_tasks = N_TASKS[run.preset]
    found = [run.part({"seed": seed, "n": n_tasks}, lambda seed=seed: _measured(run, seed, n_tasks)) for seed in seeds]
    arms: Arms = {arm: [places_of(one["arms"][arm]) for one in found] for arm in TABLE}
    alone: Arms = {arm: [places_of(one["alone"][arm]) for one in found] for arm in TABLE}
    probes: Probes = {name: [one["probes"][name] for one in found] for name in found[0]["probes"]}
    users: Probes = {arm: [one["users"][arm] for one in found] for arm in TABLE}
    _show(run, (arms, alone), users, probes)
    days = lines([history(run, seed) for seed in seeds])
    text = "Means over laboratories. Users score the deployed agent from 0 to 1: success, less what took too long."
    run.show("Longitudinal rows", text, rows=days)
    run.numbers |= {"days": days, "logs": [one["logs"] for one in found]}
    return [*_table(run, arms, found[0]["logs"]), *_latencies(run, alone), _users(run, users), *_learned(run, probes)]


def _measured(run: StudyRun, seed: int, n_tasks: int) -> dict[str, Any]:
    mine, rows = laboratory(run, seed)
    with one_thread():
        return {**measured(mine, n_tasks, N_TIMED[run.preset]), "logs": sum(row.n for row in rows)}


# -- the table ------------------------------------------------------------------------------------------------------


def _table(run: StudyRun, arms: Arms, n_logs: int) -> list[Claim]:
    """Against raw examples, as the paper does, and against as many memory items, which this base can read."""
    weights, dual, none = arms["weights"], arms["dual"], arms["none"]
    claims = []
    for baseline, title in (("examples", "five examples"), ("items", "five memory items")):
        useful = gain(arms[baseline], none)
        # What does not beat no learning is no baseline: to be above it says nothing.
        is_baseline = against(useful.interval) == HOLDS
        note = f"; {title} less no learning: {useful.text}" + ("" if is_baseline else ", so this base cannot read them")
        near, above = gain(weights, arms[baseline]), gain(dual, arms[baseline])
        fewer = gain(dual, arms[baseline], "n_context_tokens")
        words = against(near.interval, -BEHIND), against(above.interval)
        near_word, above_word = words if is_baseline else (UNDECIDED, UNDECIDED)
        what = f"after {n_logs} logs, success of weights less {title}; -{BEHIND} counts as near{note}"
        claim = f"57.2 % against 59.4 %: weights without context come near {title} in context"
        said = near.claimed(near_word, what)
        claims.append(run.claim(f"near_{baseline}", "synde.txt 10.2, 10.3", claim, **said))
        what = f"after {n_logs} logs, success of dual less {title}{note}"
        claim = f"64.1 % against 59.4 %: both layers exceed {title} in context"
        claims.append(run.claim(f"dual_{baseline}", "synde.txt 10.2, 10.3", claim, **above.claimed(above_word, what)))
        what = f"context tokens of dual less {title} ({level(arms[baseline], 'n_context_tokens').text})"
        claim = f"300 against 1000 tokens: both layers need less context than {title}"
        said = fewer.claimed(against(fewer.interval, wanted="below"), what)
        claims.append(run.claim(f"tokens_{baseline}", "synde.txt 10.2, 10.3", claim, **said))
    both = gain(dual, weights)
    said = both.claimed(against(both.interval), f"after {n_logs} logs, success of dual less weights")
    claim = "64.1 % against 57.2 %: three memory items add to weights"
    return [*claims, run.claim("dual_over_weights", "synde.txt 10.3", claim, **said)]


def _latencies(run: StudyRun, alone: Arms) -> list[Claim]:
    claims = []
    for name, first, second, claim in (
        ("latency_dual", "dual", "examples", "1.4 s against 2.3 s: both layers are faster than examples in context"),
        ("latency_alone", "weights", "examples", "1.1 s against 2.3 s: weights are faster than examples in context"),
        ("latency_weights", "weights", "dual", "1.1 s against 1.4 s: weights alone are faster than both layers"),
    ):
        faster = gain(alone[first], alone[second], "seconds")
        what = f"CPU seconds of a task, tried alone, {first} less {second} ({level(alone[second], 'seconds').text})"
        said = faster.claimed(against(faster.interval, wanted="below"), what)
        claims.append(run.claim(name, "synde.txt 10.2, 10.3", claim, **said))
    return claims


def _users(run: StudyRun, users: Probes) -> Claim:
    found = difference(users["dual"], users["none"])
    n = round(sum(n for one in users["dual"] for _, n in one))
    what = (
        f"mean score of simulated users on held-out tasks, dual ({mean_of(users['dual']).text}) less no learning "
        f"({mean_of(users['none']).text}), {n} scores each"
    )
    claim = "Simulated users are more content (a metric of the protocol: it predicts nothing)"
    return run.claim("users", "synde.txt C.3", claim, **found.claimed(against(found.interval), what))


# -- what an adapter has learned ------------------------------------------------------------------------------------

LEARNED: tuple[tuple[str, str, str], ...] = (
    ("strategy", "Prefer search over browsing: a habit that holds everywhere", "search first, new sites, lent adapter"),
    ("strategy_of_site", "Navigation strategies, of a site: its right way comes first", "right way first"),
    ("recovery", "Retry with variations on failure", "another option after an error"),
    (
        "recovery_new",
        "Retry with variations on failure: a habit on new sites too",
        "another option, new sites, lent adapter",
    ),
    ("site", "Sites use different selectors: the right one comes first", "right selector first"),
    ("verification", "Always confirm before reporting: wherever it is needed", "verify first where needed"),
    ("verification_spared", "Not always: what needs no confirming is reported at once", "verify first where needless"),
)
"""Claim, sentence, probe."""
OURS = {"strategy_of_site", "recovery_new", "verification_spared"}
"""Controls that section 10.4 does not speak of."""


def _learned(run: StudyRun, probes: Probes) -> list[Claim]:
    claims = []
    for name, claim, probe in LEARNED:
        source = "ours" if name in OURS else "synde.txt 10.4"
        if not all(sum(n for _, n in one) for side in ("with", "without") for one in probes[f"{probe}, {side}"]):
            claims.append(run.claim(name, source, claim, measured=None, error=None, n=0, verdict="not run",
                                    what=f"{probe}: no task led there"))  # fmt: skip
            continue
        found = difference(probes[f"{probe}, with"], probes[f"{probe}, without"])
        wanted = "below" if name == "verification_spared" else "above"
        before = mean_of(probes[f"{probe}, without"])
        what = f"share of actions ({probe}), with the adapter less without ({before.text})"
        said = found.claimed(against(found.interval, wanted=wanted), what)
        claims.append(run.claim(name, source, claim, **said))
    return claims


# -- showing --------------------------------------------------------------------------------------------------------


def _show(run: StudyRun, both: tuple[Arms, Arms], users: Probes, probes: Probes) -> None:
    arms, alone = both
    columns: tuple[tuple[str, Column], ...] = (("actions", "n_steps"), ("context tokens", "n_context_tokens"))
    rows: list[dict[str, Any]] = []
    for arm, name in TABLE.items():
        printed = PAPER.get(arm)
        line: dict[str, Any] = {"arm": name, "success": level(arms[arm]).text}
        line |= {title: level(arms[arm], column).value for title, column in columns}
        line["CPU s a task"] = level(alone[arm], "seconds").text
        line |= {"users' score": mean_of(users[arm]).text, "n": sum(row.n_tasks for one in arms[arm] for row in one)}
        line["printed in the paper"] = "{:.1%}, {} tokens, {} s".format(*printed) if printed else "-"
        rows.append(line)
    text = (
        "A base of 0.9 million parameters in a world of our own: levels say nothing about other models; the paper's "
        "column names no run."
    )
    run.show("Section 10's table", text, rows=rows, plots=[_plot(rows, arms)])
    shown = [
        {"behaviour": name, "without": _text(probes[f"{name}, without"]), "with": _text(probes[f"{name}, with"])}
        for name in dict.fromkeys(key.rsplit(", ", 1)[0] for key in probes)
    ]
    run.show("What an adapter has learned", "Shares of actions, without memory, with and without adapter.", rows=shown)
    run.numbers |= {"table": rows, "probes": shown}


def _text(found: Sequence[Pairs]) -> str:
    return mean_of(found).text if all(sum(n for _, n in one) for one in found) else "-"


def _plot(rows: Sequence[dict[str, Any]], arms: Arms) -> str:
    drawing, axes = figure(6, 2.2)
    axes.barh(
        [row["arm"] for row in rows], [level(found).value for found in arms.values()], color=ARM_COLOURS["context"]
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("success")
    return svg(drawing)
