"""Wrong labels and poisoned sources: what becomes of memory and of adapters that learn from them.

Outcomes: a share of the runs gets the opposite one. Steps: of a share of them the log says the opposite of whether it
worked. Poison: a share of the runs comes from another source, which says of wrong options that they worked. Poison is
met with nothing, or with a person who shuts the source out.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synde_pipeline.evaluation.plots import figure, svg
from synde_pipeline.records import Step, Trajectory
from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.learning import days, seeds, training
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.relogged import CELLS, Change, changed, relog, told, train_runs
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import Tried, gained, levels, reached

CLEAN = "as logged"
SHARES = (0.1, 0.2, 0.4)
POISON = "rumours"
TOLERATED = -0.1
"""Loss of success up to which something counts as robust."""


def flipped(run: Trajectory, share: float) -> Trajectory:
    """The opposite outcome for a share of the runs, by a hash of their ids: a larger share holds the smaller one."""
    if run.outcome not in ("success", "failure") or _fraction(f"label:{run.trace_uid}") >= share:
        return run
    return run.model_copy(update={"outcome": "failure" if run.outcome == "success" else "success"})


def mislabelled(run: Trajectory, share: float) -> Trajectory:
    """The opposite word on a share of the steps, of those that the log judges; shares are nested as in `flipped`."""

    def heard(step: Step) -> Step:
        if step.success is None or _fraction(f"step:{run.trace_uid}:{step.index}") >= share:
            return step
        return step.model_copy(update={"success": not step.success})

    return run.model_copy(update={"steps": tuple(map(heard, run.steps))})


def poisoned(run: Trajectory, share: float) -> Trajectory:
    """A share of the runs, retold by another source: each option is a wrong one and is said to have worked."""
    if _fraction(f"poison:{run.trace_uid}") >= share:
        return run
    steps = tuple(step.model_copy(update=_lie(run, step)) for step in run.steps)
    uid = f"{POISON}:{run.trace_uid.partition(':')[2]}"
    return run.model_copy(update={"steps": steps, "trace_uid": uid, "outcome": "success"})


def shut_out(run: Trajectory, share: float) -> Trajectory | None:
    """The same, with nothing learned from the other source."""
    return run if poisoned(run, share) is run else None


def _lie(run: Trajectory, step: Step) -> dict[str, Any]:
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


KINDS: dict[str, Callable[[Trajectory, float], Trajectory | None]] = {
    "wrong outcomes": flipped,
    "wrong steps": mislabelled,
    "poisoned": poisoned,
    "poisoned, shut out": shut_out,
}


def study(run: StudyRun) -> Sequence[Claim]:
    """Spoil, learn, act."""
    shares = SHARES[-1:] if run.is_quick else SHARES
    spoilt = {_name(kind, share): _spoilt(kind, share) for share in shares for kind in KINDS}
    found = told(run, {CLEAN: lambda run: run, **spoilt})
    run.show(
        "Spoilt logs",
        "Shut out: nothing is learned from that source.",
        rows=levels(found, "logs"),
        plots=[_plot(found, shares)],
    )
    rows = [{"logs": kind, **{cell: _limit(found, kind, cell, shares) for cell in CELLS}} for kind in KINDS]
    text = f"The smallest share that was tried with which mean success falls by more than {-TOLERATED}; -: none does."
    run.show("What is borne", text, rows=rows)
    run.show("What outcomes teach", _outcomes(run, shares[-1]))
    claims = []
    for kind in KINDS:
        name = _name(kind, shares[-1])
        for cell, learner in (("context", "Memory"), ("weights", "An adapter")):
            what = f"success by {cell}: with minus without; tolerated {TOLERATED}"
            measured = gained(found, name, CLEAN, cell).above(TOLERATED, what)
            claim = f"{kind.replace(', ', '-').replace(' ', '-')}.{cell}"
            claims.append(run.claim(claim, "ours", f"{learner} survives {name}", **measured))
    return claims


def _spoilt(kind: str, share: float) -> Change:
    return lambda run: KINDS[kind](run, share)


def _name(kind: str, share: float) -> str:
    return f"{share:.0%} {kind}"


def _limit(found: Tried, kind: str, cell: str, shares: Sequence[float]) -> float | None:
    losses = {share: gained(found, _name(kind, share), CLEAN, cell).value or 0.0 for share in shares}
    return next((share for share, change in losses.items() if change < TOLERATED), None)


def _plot(found: Tried, shares: Sequence[float]) -> str:
    drawing, axes = figure(7, 3)
    for cell, colour in zip(CELLS, ("#2b6cb0", "#c05621", "#2f855a"), strict=True):
        for kind, style in (("wrong outcomes", ":"), ("wrong steps", "-"), ("poisoned", "--")):
            names = [CLEAN, *(_name(kind, share) for share in shares)]
            values = [reached(found, name, cell).value for name in names]
            axes.plot([0.0, *shares], values, style, marker="o", color=colour, label=f"{cell}, {kind}")
    axes.set_xlabel("share of the runs, or of the steps", fontsize=8)
    axes.set_ylabel("success", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.3)
    return svg(drawing)


# -- what learns from outcomes ---------------------------------------------------------------------------------------


def _outcomes(run: StudyRun, share: float) -> str:
    """What is learned otherwise where only outcomes are wrong, in words."""
    parts = [
        run.part({"seed": seed, "preset": run.preset, "wrong": share}, lambda seed=seed: _changes(run, seed, share))
        for seed in seeds(run)
    ]
    rows, items, counts = ([sum(pair) for pair in zip(*part, strict=True)] for part in zip(*parts, strict=True))
    said = (
        f"With {share:.0%} of the outcomes wrong, {rows[0]} of {rows[1]} runs have other training sequences, and "
        f"{items[0]} of {items[1]} memory items another text or standing; {counts[0]} have other counts of evidence."
    )
    if rows[0] or items[0]:
        return said
    return f"{said} What agents read and adapters train on comes from the word on each step, not from outcomes."


def _changes(run: StudyRun, seed: int, share: float) -> list[tuple[int, int]]:
    """How many differ and of how many: runs' training sequences, memory items as they are read, and with counts."""
    mine, _ = lived(run, seed, days(run))
    runs = train_runs(mine)
    tellings = (runs, changed(runs, _spoilt("wrong outcomes", share)))
    one, other = (relog(mine, telling, training(run)) for telling in tellings)
    banks = [learned.memory.bank(mine.last_day) for learned in (one, other)]
    items = [{item.item_id: item for item in (*bank.items, *bank.others)} for bank in banks]
    read = [{key: (item.kind, item.version, item.status) for key, item in each.items()} for each in items]
    return [differing(one.rows, other.rows), differing(*read), differing(*items)]


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[int, int]:
    """Names under which two tables have not the same, and all their names."""
    names = {*one, *other}
    return sum(name not in one or name not in other or one[name] != other[name] for name in names), len(names)
