"""The gate's evidence in the worlds: candidate and champion try the same `gate` tasks with the same chances.

What is made of it is said in `evaluation.gate_rule`. Success is the environment's verdict, clustered by place.
"""

from collections.abc import Mapping, Sequence

from synde_pipeline.evaluation.arms import learned_tasks
from synde_pipeline.evaluation.gate_rule import ALONE, SERVED, Evidence
from synde_pipeline.evaluation.gathering import Candidate
from synde_pipeline.evaluation.paired import Pairs
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.models.registry import Served
from synde_pipeline.simulation.agent import Run
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, places
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline.training.known import known_to

METRIC = "success"


def gathered(candidate: Candidate) -> Evidence | None:
    """Let both act; None where the domain has no places, as foreign logs in a laboratory.

    Raises:
        LineageError: a gate task was learned from, or a model cannot be loaded.
    """
    settings, cycle = candidate.settings, candidate.cycle
    config = settings.simulation
    assert config is not None  # noqa: S101 - only laboratories gather by acting
    lab = Lab(candidate.warehouse, settings, known=known_to(candidate.warehouse, cycle.key))
    day = day_number(cycle.last_day)
    here = [place for place in places(config, day) if place.world.domain == cycle.domain]
    if not here:
        return None
    tasks = held_out_tasks(here, "gate", config.gate_tasks, day + 1)
    check_no_leak([task.task_id for task in tasks], learned_tasks(candidate.warehouse, lab.memory.ledger.task_ids))
    shown = lab.recall(tasks, cycle.last_day)
    new: Mapping[str, Served] = {cycle.domain: candidate.served}
    old: Mapping[str, Served] = {cycle.domain: candidate.before} if candidate.before else {}
    arms, rates = {}, {}
    for arm, memory in ((SERVED, shown), (ALONE, None)):
        runs = [
            lab.act(tasks, memory=memory, served=served, seed=config.seed + 1, label=f"gate {arm}")
            for served in (new, old)
        ]
        arms[arm] = pairs_of(*runs)
        rates[arm] = (_share(runs[0]), _share(runs[1]))
    before = earlier_scopes(candidate)
    known = {arm: pairs.within(before) for arm, pairs in arms.items()}
    return Evidence(
        metric=METRIC,
        clustered_by="place",
        arms=arms,
        rates=rates,
        known=known if known[SERVED].n else None,
        about_known="gate tasks at places of earlier cycles",
    )


def pairs_of(new: Sequence[Run], old: Sequence[Run]) -> Pairs:
    """Solved by the one and not by the other, task by task."""
    gain = [float(a.is_success) - float(b.is_success) for a, b in zip(new, old, strict=True)]
    return Pairs.of(gain, [1.0] * len(gain), [run.task.place.scope for run in new])


def earlier_scopes(candidate: Candidate) -> set[str]:
    """Scopes that earlier cycles of the domain learned from."""
    found: set[str] = set()
    for cycle in cycles(candidate.warehouse):
        if cycle.domain == candidate.cycle.domain and cycle.number < candidate.cycle.number:
            found |= {row["metadata"]["scope"] for row in claimed_examples(candidate.warehouse, cycle.key)}
    return found


def _share(runs: Sequence[Run]) -> float:
    return sum(run.is_success for run in runs) / len(runs)
