"""Fitting the router of a warehouse: its champion's layers, apart and together, on `gate` tasks.

Users' logs are replayed (does the logged tool rank first?); what laboratories do instead is in `simulation.fit_router`.
"""

from collections.abc import Mapping, Sequence

from synde_pipeline.base_model import Base, load
from synde_pipeline.evaluation.arms import learned_tasks
from synde_pipeline.evaluation.limits import MARGIN, Tried, fit
from synde_pipeline.evaluation.replay_eval import Replayer, TaskSums
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.logs.daily import load_all
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.bank import keys_of, load_bank, router_of, served_rows
from synde_pipeline.models.decide import Decider
from synde_pipeline.models.keys import DomainKeys
from synde_pipeline.models.limits import Fitted
from synde_pipeline.models.registry import Served, champion
from synde_pipeline.models.route import Asked, keys_by_domain
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.settings import EvaluationConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.known import memory_at


def banks(warehouse: Warehouse) -> dict[str, Served]:
    """The domains whose champion is a bank of adapters: only there is something to route to."""
    return {domain: served for domain, served in champion(warehouse).domains.items() if served.kind == "bank"}


def domain_keys(warehouse: Warehouse, served: Served, base_hash: str) -> DomainKeys | None:
    """What the adapters of a domain were trained on."""
    rows = served_rows(warehouse, served, base_hash)
    return next(iter(keys_by_domain(keys_of(warehouse, rows)).values()), None)


def fitted(rows: Sequence[Tried], served: Served, config: EvaluationConfig) -> Fitted:
    """The limits of one domain with what they rest on."""
    limits = fit(rows, config)
    return Fitted(
        model=served.model,
        known=limits.known,
        novel=limits.novel,
        n=len(rows),
        units=len({row.unit for row in rows}),
        margin=MARGIN,
    )


def fit_by_replay(settings: Settings) -> dict[str, Fitted]:
    """Fit every domain's limits by replaying successful runs of `gate` tasks.

    Raises:
        LineageError: a gate task was learned from, or a model cannot be loaded.
    """
    warehouse = Warehouse(settings.warehouse)
    base, memory, runs = load(warehouse), memory_at(warehouse, settings.memory, None), list(load_all(warehouse))
    return {
        domain: fitted(_replayed(settings, base, memory, (served, runs)), served, settings.evaluation)
        for domain, served in banks(warehouse).items()
    }


def _replayed(settings: Settings, base: Base, memory: Memory, what: tuple[Served, Sequence[Trajectory]]) -> list[Tried]:
    warehouse, (served, runs) = Warehouse(settings.warehouse), what
    domain = served.cycle.rsplit("-", 1)[0]
    mine = [run for run in runs if run.domain == domain]
    rows = served_rows(warehouse, served, base.hash)
    router, keys = router_of(warehouse, rows, settings.models), domain_keys(warehouse, served, base.hash)
    held = [run for run in mine if split_of(run.task_id) == "gate" and run.outcome == "success" and run.steps]
    held = [run for run in held if router.route(domain, run.scope, run.task).index != NONE]
    held = [run for run in held if memory.recall_before(run)]
    if keys is None or not held:
        return []
    check_no_leak({run.task_id for run in held}, learned_tasks(warehouse, memory.ledger.task_ids))
    tools = sorted({step.tool for run in mine if split_of(run.task_id) == "train" for step in run.steps})
    encoder, texts = PromptEncoder(base.tokenizer, settings.prompt), {run.task_id: run.task for run in held}
    found: dict[str, list[TaskSums]] = {"context": Replayer(base.model, encoder, tools, memory).replay(held, "context")}
    bank = load_bank(warehouse, base.model, rows, settings.models)
    try:
        for arm, shown in (("weights", None), ("dual", memory)):
            replayer = Replayer(base.model, encoder, tools, shown, at=lambda place: bank.routed([place]))
            found[arm] = replayer.replay(held, arm)
    finally:
        bank.adapters.remove()
    near = Decider({domain: keys}, {}).familiarities([Asked(domain, "", texts[row.task_id]) for row in found["dual"]])
    return _rows(found, near)


def _rows(found: Mapping[str, Sequence[TaskSums]], near: Sequence[float | None]) -> list[Tried]:
    def share(arm: str, k: int) -> float:
        row = found[arm][k]
        return row.n_tool_top1 / row.n_steps

    return [
        Tried(score, row.task_id, share("weights", k), share("context", k), share("dual", k))
        for k, (row, score) in enumerate(zip(found["dual"], near, strict=True))
        if score is not None and row.n_steps
    ]
