"""The router (8.4) against always the same layers: success, tokens and time, at known places and at new ones.

Its limits are fitted on `gate` tasks of the laboratory; what is reported are `report` tasks, half of them at places
that nobody knows. `by the paper` is its rule without limits: an adapter for the place means weights alone, else memory.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from synde_pipeline.evaluation.fit_router import banks, domain_keys
from synde_pipeline.memory.retrieve import Query
from synde_pipeline.models.bank import champion_bank
from synde_pipeline.models.decide import Decider, Decision, Evidence, Limits, decide, forced
from synde_pipeline.models.keys import DomainKeys
from synde_pipeline.models.route import Route
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.fit_router import fit_by_acting
from synde_pipeline.simulation.lab import asked_of
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.paired import Arms, Table, act, gain, level, side_by_side
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against
from synde_pipeline.studies.ways import new_tasks, tried_together
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.cycles import cycles

POLICIES = ("router", "by the paper", "always dual", "always weights", "always context")
WHERE = ("known places", "new places")
MARGIN = -0.02
"""Loss that still counts as none: the gate's margin for non-inferiority."""


def study(run: StudyRun) -> Sequence[Claim]:
    """Decide for every task by every policy, act, compare."""
    table = tried_together(run, _acted)
    rows = [_row(table, policy, where) for policy in POLICIES for where in WHERE]
    run.show("What each policy reaches and costs", "Per task; brackets are 95 % intervals.", rows=rows)
    sentence = "The router keeps the success of always using both layers"
    kept = _gain(table, "router", "always dual")
    better = _gain(table, "router", "always weights")
    paper = _gain(table, "by the paper", "always dual")
    tokens = gain(_both(table, "router"), _both(table, "always dual"), "n_context_tokens")
    return [
        run.claim("keeps", "ours", sentence, **kept.above(MARGIN, "success: router less always dual, all places")),
        run.claim(
            "weights",
            "ours",
            "The router is better than always using weights",
            **better.above(0.0, "success: router less always weights, all places"),
        ),
        run.claim(
            "tokens",
            "synde.txt 8.4",
            "The router spends fewer context tokens than always using both layers",
            **tokens.claimed(
                against(tokens.interval, 0.0, wanted="below"), "context tokens a task: router less always dual"
            ),
        ),
        run.claim(
            "paper",
            "synde.txt 8.4",
            "Known pattern: weights; novel pattern: context memory (no loss against both)",
            **paper.above(MARGIN, "success: the paper's rule less always dual, all places"),
        ),
    ]


def _acted(mine: Laboratory) -> Arms:
    """Every policy on the laboratory's tasks and on as many new places' ones as there are of those."""
    lab = mine.lab
    fitted = fit_by_acting(lab)
    limits = {domain: one.limits for domain, one in fitted.items()}
    served = banks(lab.warehouse)
    keys: dict[str, DomainKeys] = {}
    for domain, one in served.items():
        found = domain_keys(lab.warehouse, one, lab.base.hash)
        if found is not None:
            keys[domain] = found
    decider = Decider(keys, {cycle.key: cycle.last_day for cycle in cycles(lab.warehouse)}, limits)
    new = new_tasks(mine)
    cells = {WHERE[0]: (mine.tasks, mine.routes), WHERE[1]: (new, [NONE] * len(new))}
    arms = {}
    with side_by_side(mine) as bank:
        for where, (tasks, routes) in cells.items():
            evidence = _evidence(mine, decider, tasks, routes)
            for policy in POLICIES:
                made = [_decision(policy, decider, *pair) for pair in zip(tasks, evidence, strict=True)]
                shown = [
                    tuple(one.memory.items) if how.layers in ("context", "dual") else ()
                    for one, how in zip(evidence, made, strict=True)
                ]
                used = [
                    route if how.layers in ("weights", "dual") else NONE
                    for route, how in zip(routes, made, strict=True)
                ]
                arms[f"{policy}, {where}"] = sums_of(act(mine, tasks, memory=shown, bank=bank, routes=used))
    return arms


def _decision(policy: str, decider: Decider, task: Task, evidence: Evidence) -> Decision:
    if policy == "router":
        return decider.decide(task.place.world.domain, evidence)
    if policy == "by the paper":
        return decide(evidence, Limits(known=-1.0))
    layers: Any = policy.removeprefix("always ")
    return forced(layers, evidence)


def _evidence(mine: Laboratory, decider: Decider, tasks: Sequence[Task], routes: Sequence[int]) -> list[Evidence]:
    queries = [_query(task, mine.last_day) for task in tasks]
    answers = mine.lab.memory.answers(queries)
    near = decider.familiarities([asked_of(task) for task in tasks])
    rows = champion_bank(mine.lab.warehouse, mine.lab.base.hash)
    found = []
    for query, route, answer, score in zip(queries, routes, answers, near, strict=True):
        cycle = rows[route].cycle if route != NONE else ""
        reason = Route(route, "scope" if route != NONE else "unknown")
        old = decider.outdated(query, cycle, mine.lab.memory, answer)
        found.append(Evidence(reason, score, answer, old))
    return found


def _query(task: Task, as_of: date) -> Query:
    place = task.place
    return Query(task.text, place.world.domain, as_of, without_task=task.task_id, scope=place.scope)


def _both(table: Table, policy: str) -> list[list[Any]]:
    labs = zip(*(table[f"{policy}, {where}"] for where in WHERE), strict=True)
    return [[*known, *new] for known, new in labs]


def _gain(table: Table, new: str, old: str) -> Any:
    return gain(_both(table, new), _both(table, old))


def _row(table: Table, policy: str, where: str) -> dict[str, Any]:
    sums = table[f"{policy}, {where}"]
    return {
        "policy": policy,
        "where": where,
        "success": level(sums).text,
        "context tokens": level(sums, "n_context_tokens").value,
        "CPU s": level(sums, "seconds").value,
        "steps": level(sums, "n_steps").value,
    }
