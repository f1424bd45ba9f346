"""The gate's evidence on users' logs: offline replay of successful `gate` trajectories by candidate and champion.

Nats per action token decide, with the rank of the logged tool beside; tasks are the independent units.
"""

from collections.abc import Iterable, Sequence

from synde_pipeline.evaluation.arms import learned_tasks
from synde_pipeline.evaluation.gate_rule import ALONE, SERVED, Evidence
from synde_pipeline.evaluation.gathering import Candidate
from synde_pipeline.evaluation.paired import Pairs
from synde_pipeline.evaluation.replay_eval import Replayer, TaskSums
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.bank import load_bank, served_rows
from synde_pipeline.models.merge import CycleModel, served_model
from synde_pipeline.models.registry import Served
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.known import known_to, memory_at

METRIC = "nll"


def gathered(candidate: Candidate, trajectories: Iterable[Trajectory]) -> Evidence:
    """Replay them; where there is no gate task the evidence is empty, and nothing is shown.

    Args:
        candidate: with its champion.
        trajectories: what was known when the cycle was frozen.

    Raises:
        LineageError: a gate task was learned from, or a model cannot be loaded.
    """
    cycle, warehouse = candidate.cycle, candidate.warehouse
    mine = sorted((t for t in trajectories if t.domain == cycle.domain), key=lambda t: (t.day, t.trace_uid))
    held = [t for t in mine if split_of(t.task_id) == "gate" and t.outcome == "success" and t.steps]
    tools = sorted({step.tool for t in mine if split_of(t.task_id) == "train" for step in t.steps})
    memory = memory_at(warehouse, candidate.settings.memory, known_to(warehouse, cycle.key))
    check_no_leak({t.task_id for t in held}, learned_tasks(warehouse, memory.ledger.task_ids))
    new = _replayed(candidate, candidate.served, (held, tools), memory)
    old = _replayed(candidate, candidate.before, (held, tools), memory)
    earlier = [one.last_day for one in cycles(warehouse) if one.domain == cycle.domain and one.number < cycle.number]
    known = {t.task_id for t in held if earlier and t.day <= max(earlier)}
    arms = {arm: _pairs(new[arm], old[arm], "nll", "n_tokens", is_cost=True) for arm in (SERVED, ALONE)}
    return Evidence(
        metric=METRIC,
        clustered_by="task",
        arms=arms,
        rates={arm: (_rate(new[arm]), _rate(old[arm])) for arm in (SERVED, ALONE)},
        known={arm: pairs.within(known) for arm, pairs in arms.items()} if known else None,
        about_known="gate tasks of days before this cycle's",
        also={"tool top-1": _pairs(new[SERVED], old[SERVED], "n_tool_top1", "n_steps", is_cost=False)},
    )


def _replayed(
    candidate: Candidate,
    served: Served | None,
    what: tuple[Sequence[Trajectory], Sequence[str]],
    memory: Memory,
) -> dict[str, list[TaskSums]]:
    """One row a task in each arm; `what` is the trajectories and the tools that compete."""
    held, tools = what
    encoder = PromptEncoder(candidate.base.tokenizer, candidate.settings.prompt)
    loaded = served_cycle_model(candidate, served)
    found = {}
    for arm, shown in ((SERVED, memory), (ALONE, None)):
        replayer = Replayer(loaded.model, encoder, tools, shown, at=loaded.at)
        found[arm] = replayer.replay(held, f"gate {arm}")
    return found


def served_cycle_model(candidate: Candidate, served: Served | None) -> CycleModel:
    """What is or would be served, ready to run; a bank lies on the base's own model and is still outside `at`.

    Raises:
        LineageError: an adapter or the model is not the recorded one.
    """
    base = candidate.base
    if served is None:
        return CycleModel.plain(base.model)
    if served.kind != "bank":
        return CycleModel.plain(served_model(candidate.warehouse, served))
    bank = load_bank(candidate.warehouse, base.model, served_rows(candidate.warehouse, served, base.hash))
    return CycleModel(base.model, lambda place: bank.routed([place]))


def _pairs(new: Sequence[TaskSums], old: Sequence[TaskSums], over: str, per: str, *, is_cost: bool) -> Pairs:
    sign = -1.0 if is_cost else 1.0
    gains = [sign * (getattr(a, over) - getattr(b, over)) for a, b in zip(new, old, strict=True)]
    return Pairs.of(gains, [float(getattr(row, per)) for row in new], [row.task_id for row in new])


def _rate(rows: Sequence[TaskSums]) -> float:
    n_tokens = sum(row.n_tokens for row in rows)
    return sum(row.nll for row in rows) / n_tokens if n_tokens else float("nan")
