"""Case study, web navigation (section 10): its table and its learned patterns, in our world and with our numbers.

A thousand logs of the long history (`longitudinal`), then held-out tasks on the sites that are open: no learning, five
raw successful trajectories in context, three memory items, adapters, both. Latency is CPU time of a task in a batch.
What an adapter has learned (10.4) is read off behaviour: the same tasks with and without it.
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
from synde_pipeline.studies.verdicts import against

PAPER = {"examples": (0.594, 1000, 2.3), "weights": (0.572, 0, 1.1), "dual": (0.641, 300, 1.4)}
"""Success, context tokens and seconds that section 10 prints; they name no run."""
BEHIND = 0.022
"""How far weights are behind five examples there."""
N_TASKS = {"quick": 64, "full": 480}

Arms = Mapping[str, Sequence[Sequence[PlaceSums]]]
Probes = Mapping[str, Sequence[Pairs]]


def study(run: StudyRun) -> list[Claim]:
    """The table, what users think, and the probes."""
    seeds, _, _ = plan(run)
    n_tasks = N_TASKS[run.preset]
    found = [run.part({"seed": seed, "n": n_tasks}, lambda seed=seed: _measured(run, seed, n_tasks)) for seed in seeds]
    arms: Arms = {arm: [places_of(one["arms"][arm]) for one in found] for arm in TABLE}
    probes: Probes = {name: [one["probes"][name] for one in found] for name in found[0]["probes"]}
    users: Probes = {arm: [one["users"][arm] for one in found] for arm in TABLE}
    _show(run, arms, users, probes)
    days = lines([history(run, seed) for seed in seeds])
    text = "Means over laboratories. Users score the deployed agent from 0 to 1: success, less what took too long."
    run.show("Longitudinal rows", text, rows=days)
    run.numbers |= {"days": days, "logs": [one["logs"] for one in found]}
    return [*_table(run, arms, found[0]["logs"]), _users(run, users), *_learned(run, probes)]


def _measured(run: StudyRun, seed: int, n_tasks: int) -> dict[str, Any]:
    mine, rows = laboratory(run, seed)
    with one_thread():
        return {**measured(mine, n_tasks), "logs": sum(row.n for row in rows)}


# -- the table ------------------------------------------------------------------------------------------------------


def _table(run: StudyRun, arms: Arms, n_logs: int) -> list[Claim]:
    examples, weights, dual = (arms[name] for name in PAPER)
    near, above, both = gain(weights, examples), gain(dual, examples), gain(dual, weights)
    fewer = gain(dual, examples, "n_context_tokens")
    what = f"after {n_logs} logs, success of"
    rows: list[tuple[str, str, dict[str, Any]]] = [
        (
            "near",
            "57.2 % against 59.4 %: weights without context come near five examples in context",
            near.claimed(
                against(near.interval, -BEHIND), f"{what} weights less five examples; -{BEHIND} counts as near"
            ),
        ),
        (
            "dual",
            "64.1 % against 59.4 %: both layers exceed five examples in context",
            above.claimed(against(above.interval), f"{what} dual less five examples"),
        ),
        (
            "dual_over_weights",
            "64.1 % against 57.2 %: three memory items add to weights",
            both.claimed(against(both.interval), f"{what} dual less weights"),
        ),
        (
            "tokens",
            "300 against 1000 tokens: both layers need less context than examples",
            fewer.claimed(
                against(fewer.interval, wanted="below"),
                f"context tokens of dual less five examples, which have {level(examples, 'n_context_tokens').text}",
            ),
        ),
    ]
    for name, first, second, claim in (
        ("latency_dual", "dual", "examples", "1.4 s against 2.3 s: both layers are faster than examples in context"),
        ("latency_weights", "weights", "dual", "1.1 s against 1.4 s: weights alone are faster than both layers"),
    ):
        faster = gain(arms[first], arms[second], "seconds")
        said = f"CPU seconds of a task, {first} less {second} ({level(arms[second], 'seconds').text})"
        rows.append((name, claim, faster.claimed(against(faster.interval, wanted="below"), said)))
    return [run.claim(name, "SynDE 10.2, 10.3", claim, **said) for name, claim, said in rows]


def _users(run: StudyRun, users: Probes) -> Claim:
    found = difference(users["dual"], users["none"])
    n = round(sum(n for one in users["dual"] for _, n in one))
    what = (
        f"mean score of simulated users on held-out tasks, dual ({mean_of(users['dual']).text}) less no learning "
        f"({mean_of(users['none']).text}), {n} scores each"
    )
    return run.claim("users", "SynDE C.3", "Users are more content", **found.claimed(against(found.interval), what))


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


def _learned(run: StudyRun, probes: Probes) -> list[Claim]:
    claims = []
    for name, claim, probe in LEARNED:
        if not all(sum(n for _, n in one) for side in ("with", "without") for one in probes[f"{probe}, {side}"]):
            claims.append(run.claim(name, "SynDE 10.4", claim, measured=None, error=None, n=0, verdict="not run",
                                    what=f"{probe}: no task led there"))  # fmt: skip
            continue
        found = difference(probes[f"{probe}, with"], probes[f"{probe}, without"])
        wanted = "below" if name == "verification_spared" else "above"
        before = mean_of(probes[f"{probe}, without"])
        what = f"share of actions ({probe}), with the adapter less without ({before.text})"
        said = found.claimed(against(found.interval, wanted=wanted), what)
        claims.append(run.claim(name, "SynDE 10.4", claim, **said))
    return claims


# -- showing --------------------------------------------------------------------------------------------------------


def _show(run: StudyRun, arms: Arms, users: Probes, probes: Probes) -> None:
    columns: tuple[tuple[str, Column], ...] = (("actions", "n_steps"), ("context tokens", "n_context_tokens"))
    rows: list[dict[str, Any]] = []
    for arm, name in TABLE.items():
        printed = PAPER.get(arm)
        line: dict[str, Any] = {"arm": name, "success": level(arms[arm]).text}
        line |= {title: level(arms[arm], column).value for title, column in columns}
        line["CPU ms a task"] = 1000 * (level(arms[arm], "seconds").value or 0.0)
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
