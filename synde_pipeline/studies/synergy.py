"""Dual-layer synergy (RQ3): both layers together against the better of the two, by number of memory items shown.

On known places the memory answers, and each task gets its place's adapter. Tasks need four facts, so with three items
(the default) there is something left for weights to know, and with four nothing. On new places neither layer knows
anything; there k right facts are told, and an adapter of other places is put beside them: what it then adds is no fact,
but reading better, the control for the gain on known places.
"""

from typing import Any

from synde_pipeline.evaluation.plots import figure, svg
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.gates import Gate, hints
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places
from synde_pipeline.studies.paired import (
    Arms,
    Found,
    Table,
    act,
    better_of_both,
    gain,
    inside,
    level,
    side_by_side,
)
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, together
from synde_pipeline.studies.ways import tried_together
from synde_pipeline.studies.worlds import Laboratory, lent_routes

ITEMS = range(7)
TOLD = range(5)
"""Right facts told on new places; a task needs four."""
DEFAULT = 3
"""Items that agents are shown (section 10.3: top-3)."""
N_NEW_PLACES = 24
MOST_TASKS = 288
"""Tasks that an arm tries: twelve a place of the default world, where places and seeds are what varies."""
MARGIN = 0.02
"""Loss that still counts as none: the gate's margin for non-inferiority."""
PREDICTED = {"context": (0.15, 0.20), "weights": (0.10, 0.15), "dual": (0.25, 0.35)}
"""Gains over no learning that section 9.3 predicts."""


def study(run: StudyRun) -> list[Claim]:
    """Both layers and each alone, by items shown."""
    table = tried_together(run, lambda mine: arms(mine.with_tasks(MOST_TASKS)))
    leads = {k: better_of_both(table[f"dual {k}"], table[f"context {k}"], table["dual 0"]) for k in ITEMS[1:]}
    _show(run, table, leads)
    return [*_dual(run, leads), *_order(run, table), *_controls(run, table), *_predictions(run, table)]


def arms(mine: Laboratory) -> Arms:
    """All arms of one laboratory: `dual 0` is weights alone, `context 0` the base."""
    day = day_number(mine.last_day)
    new = held_out_tasks(new_places(mine.config, N_NEW_PLACES), "report", len(mine.tasks), day + 1)
    lent, found = lent_routes(new, mine), {}
    with side_by_side(mine) as bank:
        for k in ITEMS:
            shown = mine.lab.recall(mine.tasks, mine.last_day, k) if k else None
            found[f"context {k}"] = sums_of(act(mine, mine.tasks, memory=shown))
            found[f"dual {k}"] = sums_of(act(mine, mine.tasks, memory=shown, bank=bank, routes=mine.routes))
        for k in TOLD:
            told = [hints(task, Gate("told", 0, is_upper=False, n_own=k), mine.config.seed) for task in new]
            found[f"new, told {k}"] = sums_of(act(mine, new, memory=told))
            found[f"new, told {k}, lent"] = sums_of(act(mine, new, memory=told, bank=bank, routes=lent))
        recalled = mine.lab.recall(new, mine.last_day, DEFAULT)
        found["new, context"] = sums_of(act(mine, new, memory=recalled))
    return found


def _dual(run: StudyRun, leads: dict[int, tuple[Found, str]]) -> list[Claim]:
    found, verdict = leads[DEFAULT]
    what = f"success of dual less the better of context and weights, {DEFAULT} items shown, known places"
    claims = [
        run.claim(
            "dual", "synde.txt 9.1, RQ3", "Both layers together exceed either alone", **found.claimed(verdict, what)
        )
    ]
    worst = min((one for one, _ in leads.values()), key=lambda one: one.interval[0] if one.interval else 0.0)
    said = ", ".join(f"{k}: {one.text} {word}" for k, (one, word) in leads.items())
    what = f"the least of these leads over 1 to {ITEMS[-1]} items ({said})"
    every = together([word for _, word in leads.values()])
    name = "Both layers together exceed either alone, however many items are shown"
    return [*claims, run.claim("dual_by_items", "synde.txt 9.1, RQ3", name, **worst.claimed(every, what))]


def _order(run: StudyRun, table: Table) -> list[Claim]:
    found = gain(table[f"context {DEFAULT}"], table["dual 0"])
    what = f"success of context with {DEFAULT} items less weights alone, known places"
    claim = "Dual > Context-only > Weight-only: context beats weights"
    return [run.claim("order", "synde.txt 9.1, RQ3", claim, **found.claimed(against(found.interval), what))]


def _controls(run: StudyRun, table: Table) -> list[Claim]:
    own = gain(table[f"dual {DEFAULT}"], table[f"context {DEFAULT}"])
    reader = gain(table[f"new, told {DEFAULT}, lent"], table[f"new, told {DEFAULT}"])
    what = (
        f"success with {DEFAULT} facts told on new places, with an adapter of other places less without; "
        f"the gain on known places with own adapters is {own.text}"
    )
    claims = [
        run.claim(
            "reader", "ours", "Control: an adapter of other places makes a better reader of memory",
            **reader.claimed(against(reader.interval), what),
        )
    ]  # fmt: skip
    full = gain(table["new, told 4, lent"], table["new, told 4"])
    what = f"success with all four facts told on new places, with a lent adapter less without; -{MARGIN} is borne"
    claims.append(
        run.claim(
            "harm", "ours", "Control: an adapter of other places harms nothing where memory says all",
            **full.claimed(against(full.interval, -MARGIN), what),
        )
    )  # fmt: skip
    common = gain(table["dual 0"], table["context 0"])
    what = "success of weights without memory less no learning, known places"
    name = "Weights handle common patterns: they solve known places without memory"
    claims.append(run.claim("common", "synde.txt 5.4", name, **common.claimed(against(common.interval), what)))
    new = gain(table["new, context"], table["new, told 0"])
    what = f"success with {DEFAULT} items recalled less none, on places that no log is about"
    name = "Context handles novel situations: memory of other places helps on new ones"
    return [*claims, run.claim("new", "synde.txt 5.4", name, **new.claimed(against(new.interval), what))]


def _predictions(run: StudyRun, table: Table) -> list[Claim]:
    names = {"context": f"context {DEFAULT}", "weights": "dual 0", "dual": f"dual {DEFAULT}"}
    claims = []
    for arm, (low, high) in PREDICTED.items():
        found = gain(table[names[arm]], table["context 0"])
        what = f"success of {arm} less no learning, known places, {DEFAULT} items where memory is shown"
        claim = f"{arm} gains {100 * low:.0f} to {100 * high:.0f} points"
        verdict = inside(found.interval, low, high)
        claims.append(run.claim(f"predicted_{arm}", "synde.txt 9.3", claim, **found.claimed(verdict, what)))
    return claims


def _show(run: StudyRun, table: Table, leads: dict[int, tuple[Found, str]]) -> None:
    levels = {name: level(labs) for name, labs in table.items()}
    rows: list[dict[str, Any]] = [
        {
            "items": k,
            "context": levels[f"context {k}"].text,
            "weights": levels["dual 0"].text,
            "dual": levels[f"dual {k}"].text,
            "dual less the better": leads[k][0].text if k else "-",
            "verdict": leads[k][1] if k else "-",
        }
        for k in ITEMS
    ]
    n_seeds, n_tasks = len(table["dual 0"]), sum(row.n_tasks for row in table["dual 0"][0])
    text = f"{n_seeds} laboratories, {n_tasks} held-out tasks each. Success with 95 % intervals."
    run.show("Known places", text, rows=rows, plots=[_plot(levels)])
    told = [
        {"told": k, "base": levels[f"new, told {k}"].text, "lent adapter": levels[f"new, told {k}, lent"].text}
        for k in TOLD
    ]
    run.show("New places, k right facts told", "The lent adapter was trained on other places of the domain.", rows=told)
    run.numbers["levels"] = {name: [found.value, found.interval, found.n] for name, found in levels.items()}


def _plot(levels: dict[str, Found]) -> str:
    drawing, axes = figure(6, 3.2)
    lines = {"context": [f"context {k}" for k in ITEMS], "dual": [f"dual {k}" for k in ITEMS]}
    for name, keys in lines.items():
        axes.plot(list(ITEMS), [levels[key].value for key in keys], "o-", label=name, markersize=4)
    axes.axhline(levels["dual 0"].value, color="grey", linestyle=":", label="weights alone")
    axes.set_xlabel("memory items shown")
    axes.set_ylabel("success")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return svg(drawing)
