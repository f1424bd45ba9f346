"""Performance parity (RQ2): weights without context against memory in context, at equal information.

Equal information means: the memory as of the day up to which a domain's latest cycle has read the logs, and all items
that the place has, where "top 3" is what agents are shown. Adapters written from memory alone go further: they were
trained on nothing but what the very items say that the other arm reads.
"""

from datetime import date
from typing import Any

from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.models.grouped import groups_to_train, train_groups
from synde_pipeline.models.registry import champion
from synde_pipeline.models.route import Place
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.scribe import scribe_of
from synde_pipeline.simulation.tasks import date_of
from synde_pipeline.studies.paired import Arms, Table, act, gain, level, side_by_side
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, exactly
from synde_pipeline.studies.ways import tried_together
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.groups import groups_of
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import build_shard
from synde_pipeline.training.train import train

MOST_TASKS = 288
"""Tasks that an arm tries: twelve a place of the default world, where places and seeds are what varies."""
MARGIN = 0.02
"""How much worse still counts as parity: the gate's margin for non-inferiority."""
ITEMS = {"top 1": 1, "top 3": 3, "all items": 12}
"""More than twelve no place of the worlds has: six stages, what works and what fails at each."""
FROM_MEMORY = PRESETS["world"].model_copy(update={"objective": "from_memory"})


def study(run: StudyRun) -> list[Claim]:
    """Weights against context."""
    table = tried_together(run, lambda mine: arms(mine.with_tasks(MOST_TASKS)))
    _show(run, table)
    return [*_parities(run, table), *_costs(run, table)]


def arms(mine: Laboratory) -> Arms:
    """All arms of one laboratory."""
    found = {"none": sums_of(act(mine, mine.tasks))}
    for name, k in ITEMS.items():
        found[f"context, {name}"] = sums_of(act(mine, mine.tasks, memory=memory_of_cycles(mine, k)))
    with side_by_side(mine) as bank:
        found["weights"] = sums_of(act(mine, mine.tasks, bank=bank, routes=mine.routes))
    adapters, routes = trained_anew(mine, FROM_MEMORY)
    with side_by_side(mine, adapters) as bank:
        found["weights, from memory"] = sums_of(act(mine, mine.tasks, bank=bank, routes=routes))
    paper = train(mine.lab.base.model, [mine.rows(PRESETS["paper"])], PRESETS["paper"])
    found["weights, paper's recipe"] = sums_of(act(mine, mine.tasks, bank=paper.bank, routes=[0] * len(mine.tasks)))
    paper.bank.remove()
    return found


def memory_of_cycles(mine: Laboratory, top_k: int) -> list[tuple[MemoryItem, ...]]:
    """What each task is shown of the memory as of the last day that its domain's adapters have learned from."""
    known = {domain: cycle.last_day for domain, cycle in _served(mine).items()}
    days = [known.get(task.place.world.domain, date_of(0)) for task in mine.tasks]
    by_day: dict[date, list[int]] = {}
    for k, day in enumerate(days):
        by_day.setdefault(day, []).append(k)
    shown: dict[int, tuple[MemoryItem, ...]] = {}
    for day, numbers in by_day.items():
        shown |= dict(zip(numbers, mine.lab.recall([mine.tasks[k] for k in numbers], day, top_k), strict=True))
    return [shown[k] for k in range(len(days))]


def _served(mine: Laboratory) -> dict[str, Cycle]:
    """The cycle that was accepted last in each domain."""
    by_key = {cycle.key: cycle for cycle in cycles(mine.lab.warehouse)}
    return {domain: by_key[one.cycle] for domain, one in champion(mine.lab.warehouse).domains.items()}


def trained_anew(mine: Laboratory, config: TrainingConfig) -> tuple[list[AdapterWeights], list[int]]:
    """Adapters of every domain's last accepted cycle as another recipe makes them, and each task's."""
    settings = mine.lab.settings.model_copy(update={"training": config})
    adapters: list[AdapterWeights] = []
    table: dict[Place, int] = {}
    for cycle in _served(mine).values():
        about = (mine.lab.warehouse, cycle, mine.lab.memory, mine.lab.encoder, settings)
        shard = build_shard(*about, scribe_of(mine.config))
        groups = groups_to_train(shard.rows, groups_of(mine.lab.warehouse, cycle, config.scopes_per_adapter))
        trained = train_groups(mine.lab.base, groups, config, None)
        for index, group in enumerate(groups):
            table |= dict.fromkeys(((cycle.domain, scope) for scope in group.scopes), len(adapters))
            adapters.append(trained.bank.weights(index))
        trained.bank.remove()
    return adapters, [table.get((task.place.world.domain, task.place.scope), NONE) for task in mine.tasks]


PAIRS = (
    ("default", "weights", "context, top 3", "LoRA >= ICL: weights without context reach context with three items"),
    ("equal", "weights", "context, all items", "LoRA >= ICL at equal information: all items of the same logs"),
    ("items", "weights, from memory", "context, all items", "LoRA >= ICL: trained on the very items that are shown"),
    ("paper", "weights, paper's recipe", "context, top 3", "LoRA >= ICL with section 6.4's recipe (1e-4, one epoch)"),
)
"""Claim, arm, what it is held against, the sentence."""


def _parities(run: StudyRun, table: Table) -> list[Claim]:
    claims = []
    for name, arm, other, claim in PAIRS:
        found = gain(table[arm], table[other])
        what = f"success of {arm} less {other}; at least -{MARGIN} counts as parity"
        source = "synde.txt 9.1, RQ2" if name != "paper" else "synde.txt 6.4, 9.1, RQ2"
        claims.append(run.claim(name, source, claim, **found.claimed(against(found.interval, -MARGIN), what)))
    return claims


def _costs(run: StudyRun, table: Table) -> list[Claim]:
    tokens = level(table["weights"], "n_context_tokens")
    other = level(table["context, top 3"], "n_context_tokens")
    what = f"context tokens a task of the weights' arm; context with three items has {other.text}"
    verdict = exactly([tokens.value or 0.0], 0.0)
    steps = gain(table["weights"], table["context, top 3"], "n_steps")
    said = "actions a task of weights less context with three items"
    return [
        run.claim("overhead", "synde.txt 9.1, RQ2", "LoRA has no context overhead", **tokens.claimed(verdict, what)),
        run.claim(
            "steps", "ours", "Weights need no more actions than context with three items",
            **steps.claimed(against(steps.interval, 0.0, wanted="below"), said),
        ),
    ]  # fmt: skip


def _show(run: StudyRun, table: Table) -> None:
    rows: list[dict[str, Any]] = []
    levels = {name: level(labs) for name, labs in table.items()}
    for name, labs in table.items():
        each = [f"{sum(r.n_success for r in one) / sum(r.n_tasks for r in one):.3f}" for one in labs]
        tokens, steps = level(labs, "n_context_tokens"), level(labs, "n_steps")
        rows.append(
            {"arm": name, "success": levels[name].text, "by seed": " ".join(each), "context tokens": tokens.value,
             "actions": steps.value}
        )  # fmt: skip
    n_tasks = sum(row.n_tasks for row in table["none"][0])
    text = f"{len(table['none'])} laboratories, {n_tasks} held-out tasks on known places each; 95 % intervals."
    drawing, axes = figure(6, 2.4)
    axes.barh(list(levels), [found.value for found in levels.values()], color=ARM_COLOURS["context"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("success")
    run.show("Arms", text, rows=rows, plots=[svg(drawing)])
    run.numbers["arms"] = rows
