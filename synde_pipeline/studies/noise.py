"""Wrong labels and poisoned sources: what becomes of memory and of adapters that learn from them.

Labels: a share of the runs gets the opposite outcome. Poison: a share of the runs comes from another source, which says
of wrong options that they worked. Poison is met with nothing, or with a person who shuts the source out.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from synde_pipeline.evaluation.plots import figure, svg
from synde_pipeline.records import Trajectory
from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.relogged import CELLS, acted, relog, train_runs
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.trials import days, from_json, gain, over, seeds, training, what
from synde_pipeline.studies.verdicts import against

SHARES = (0.0, 0.1, 0.2, 0.4)
POISON = "rumours"
TOLERATED = -0.1
"""Loss of success up to which something counts as robust."""


def flipped(run: Trajectory, share: float) -> Trajectory:
    """The opposite outcome for a share of the runs, by a hash of their ids: a larger share holds the smaller one."""
    if run.outcome not in ("success", "failure") or _fraction(f"label:{run.trace_uid}") >= share:
        return run
    return run.model_copy(update={"outcome": "failure" if run.outcome == "success" else "success"})


def poisoned(run: Trajectory, share: float) -> Trajectory:
    """A share of the runs, retold by another source: each option is a wrong one and is said to have worked."""
    if _fraction(f"poison:{run.trace_uid}") >= share:
        return run
    steps = tuple(step.model_copy(update=_lie(run, step)) for step in run.steps)
    uid = f"{POISON}:{run.trace_uid.partition(':')[2]}"
    return run.model_copy(update={"steps": steps, "trace_uid": uid, "outcome": "success"})


def _lie(run: Trajectory, step: Any) -> dict[str, Any]:
    stages = {stage.tool: stage for stage in WORLDS[run.domain].stages}
    stage = stages.get(step.tool)
    if stage is None:
        return {"success": True}
    others = [option for option in stage.options if option != step.arguments]
    # One lie for a place and tool: liars who contradict each other convince nobody.
    lie = others[int(_fraction(f"lie:{run.scope}:{step.tool}") * len(others))]
    return {"arguments": lie, "success": True}


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def study(run: StudyRun) -> Sequence[Claim]:
    """Spoil, learn, act."""
    shares = (0.0, 0.4) if run.is_quick else SHARES
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds(run):
        laboratory, _ = lived(run, seed, days(run))
        runs = train_runs(laboratory)
        for name, told in _tellings(runs, shares).items():
            key = {"seed": seed, "days": days(run), "telling": name, "training": training(run).model_dump()}

            def compute(lab: Any = laboratory, told: Any = told) -> dict[str, Any]:
                return acted(lab, relog(lab, told, training(run)), training(run))

            found.setdefault(name, []).append(run.part(key, compute))
    run.numbers["tellings"] = found
    _show(run, found, shares)
    return _claims(run, found, shares[-1])


def _tellings(runs: Sequence[Trajectory], shares: Sequence[float]) -> dict[str, list[Trajectory]]:
    found = {f"{share:.0%} wrong labels": [flipped(run, share) for run in runs] for share in shares}
    for share in shares[1:]:
        spoilt = [poisoned(run, share) for run in runs]
        found[f"{share:.0%} poisoned"] = spoilt
        found[f"{share:.0%} poisoned, shut out"] = [run for run in spoilt if not run.trace_uid.startswith(POISON)]
    return found


def _show(run: StudyRun, found: dict[str, list[dict[str, Any]]], shares: Sequence[float]) -> None:
    rows = []
    for name, each in found.items():
        row: dict[str, Any] = {"logs": name}
        for cell in CELLS:
            one = over([from_json(cells[cell]) for cells in each])
            row |= {cell: one["measured"], f"{cell}, 95 %": one["error"]}
        rows.append(row)
    drawing, axes = figure(5.4, 3)
    for cell, colour in zip(CELLS, ("#2b6cb0", "#c05621", "#2f855a"), strict=True):
        for kind, style in (("wrong labels", "-"), ("poisoned", "--")):
            names = [f"{share:.0%} {kind if share else 'wrong labels'}" for share in shares]
            values = [over([from_json(cells[cell]) for cells in found[name]])["measured"] for name in names]
            axes.plot(shares, values, style, marker="o", color=colour, label=f"{cell}, {kind}")
    axes.set_xlabel("share of the runs", fontsize=8)
    axes.set_ylabel("success", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    run.show("Spoilt logs", "Shut out: nothing is learned from that source.", rows=rows, plots=[svg(drawing)])


def _claims(run: StudyRun, found: dict[str, list[dict[str, Any]]], most: float) -> list[Claim]:
    clean = found["0% wrong labels"]
    claims = []
    for kind in ("wrong labels", "poisoned", "poisoned, shut out"):
        name = f"{most:.0%} {kind}"
        for cell in ("context", "weights"):
            one = gain([(from_json(a[cell]), from_json(b[cell])) for a, b in zip(found[name], clean, strict=True)])
            told = {"context": "Memory", "weights": "An adapter"}[cell]
            claims.append(
                run.claim(
                    f"{kind.replace(', ', '-').replace(' ', '-')}.{cell}", "ours", f"{told} survives {name}",
                    **one, verdict=against(one["error"], TOLERATED),
                    what=what(run, f"success by {cell}: with minus without; tolerated {TOLERATED}"),
                )
            )  # fmt: skip
    return claims
