"""Four arms in anybody's environment: the same tasks, with and without memory, with and without adapters.

Runs of `train` tasks are logged through `ExecutionLogger` into a home of their own and read by the usual chain of the
fast layer; what it remembers is shown to runs of `report` tasks. What the numbers say is in `scores`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import NamedTuple, get_args

from tqdm import tqdm

from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.llm import Llm
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.logger import ExecutionLogger, LandingWriter
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.records import MemoryItem, Outcome, Split
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.studies.benchmarks.actors import Actor, Turn, View
from synde_pipeline.studies.benchmarks.environments import Environment, EnvironmentTask

DAY = date(2025, 1, 2)
"""Of all train runs: a study's logs say nothing about when it ran."""
SOURCE = "benchmark"
_SECONDS_PER_RUN = 60


class Home(NamedTuple):
    """Where a measurement keeps its logs and what they taught."""

    settings: Settings
    llm: Llm
    """Of the whole run, with its budget: asked only if the settings let a language model reflect."""


@dataclass(frozen=True)
class Run:
    """One try of one task."""

    task: EnvironmentTask
    outcome: Outcome
    turns: tuple[Turn, ...]
    shown: tuple[str, ...]
    """Ids of the memory items in its context."""
    tokens_in: int
    tokens_out: int
    n_elided: int

    @property
    def is_success(self) -> bool:
        """Whether the environment says success; a partial one is none."""
        return self.outcome == "success"


def play(
    environment: Environment, actor: Actor, task: EnvironmentTask, memory: Sequence[MemoryItem] = (), *, seed: int = 0
) -> Run:
    """Let an actor try a task until it is over or its budget is used up.

    Raises:
        ValueError: the environment judges with a word that is no outcome.
    """
    tools = "\n".join(f"- {name}: {words}" for name, words in environment.tools.items())
    state = f"Tools:\n{tools}\n\n{environment.reset(task, seed=seed)}".strip()
    turns: list[Turn] = []
    tokens_in = tokens_out = n_elided = 0
    for index in range(task.budget):
        said = actor.act(View(environment.domain, task, environment.tools, memory, tuple(turns), state))
        reply = environment.step(said.tool, said.arguments)
        turns.append(Turn(index, state, said.reasoning, said.tool, said.arguments, reply.observation, reply.success))
        tokens_in, tokens_out = tokens_in + said.tokens_in, tokens_out + said.tokens_out
        n_elided += said.n_elided
        state = reply.observation
        if reply.is_over:
            break
    outcome = environment.outcome()
    if outcome not in get_args(Outcome):
        raise ValueError(f"outcome() of {type(environment).__name__} said {outcome!r}, not one of {get_args(Outcome)}")
    shown = tuple(item.item_id for item in memory)
    return Run(task, outcome, tuple(turns), shown, tokens_in, tokens_out, n_elided)


def play_all(
    environment: Environment,
    actor: Actor,
    tasks: Iterable[EnvironmentTask],
    shown: Mapping[str, Sequence[MemoryItem]] | None = None,
    *,
    label: str,
) -> list[Run]:
    """Try tasks one after the other; an environment holds one at a time."""
    found = []
    for task in tqdm(list(tasks), desc=label, unit="task", disable=None, leave=False):
        found.append(play(environment, actor, task, (shown or {}).get(task.task_id, ())))
    return found


def log_runs(runs: Sequence[Run], domain: str, model: str, warehouse: Warehouse) -> None:
    """Write runs through the public SDK, with a clock and ids that a repetition repeats."""
    with LandingWriter(warehouse.root / LANDING, file_name=SOURCE) as writer:
        for number, run in enumerate(runs):
            log = ExecutionLogger(
                run.task.text,
                domain=domain,
                task_id=run.task.task_id,
                scope=run.task.scope,
                source=SOURCE,
                model=model,
                shown_memory=run.shown,
                landing=writer,
                clock=_clock(number),
                id_factory=lambda number=number, run=run: f"{number:06d}-{run.task.task_id}"[:150],
            )
            with log:
                for turn in run.turns:
                    action = (turn.tool or "invalid", turn.arguments)
                    log.log_step(turn.state, action, turn.reasoning, turn.result, success=turn.success)
                log.set_outcome(run.outcome)


def _clock(number: int) -> Callable[[], datetime]:
    start = datetime.combine(DAY, time(), UTC) + timedelta(seconds=number * _SECONDS_PER_RUN)
    seconds = count()
    return lambda: start + timedelta(milliseconds=next(seconds))


def learned_memory(runs: Sequence[Run], domain: str, model: str, home: Home) -> Memory:
    """What the fast layer makes of runs of `train` tasks.

    Raises:
        LlmError: a language model was to reflect and did not answer.
    """
    settings, llm = home
    warehouse = Warehouse(settings.warehouse)
    learning = [run for run in runs if run.task.split == "train"]
    log_runs(learning, domain, model, warehouse)
    publish_raw_logs(warehouse, DAY)
    publish_reflections(warehouse, DAY, settings, llm)
    publish_deltas(warehouse, DAY, settings.memory)
    publish_memory(warehouse, DAY)
    return Memory.load(warehouse, settings.memory)


def recalled(memory: Memory, tasks: Sequence[EnvironmentTask], domain: str) -> dict[str, list[MemoryItem]]:
    """The items that each task is shown: learned by `DAY`, from other tasks.

    Raises:
        LineageError: one of the tasks was learned from.
    """
    check_no_leak([task.task_id for task in tasks], memory.ledger.task_ids)
    queries = [Query(task.text, domain, DAY, without_task=task.task_id, scope=task.scope) for task in tasks]
    items = memory.recall_many(queries)
    return {task.task_id: found for task, found in zip(tasks, items, strict=True)}


@dataclass(frozen=True)
class Arms:
    """What the four arms did."""

    everywhere: list[Run]
    """Arm none on all tasks of all splits: the number that others publish."""
    runs: dict[str, list[Run]]
    """Arm -> its runs on the same `report` tasks; arms that do not apply are left out."""
    n_items: int
    """Active memory items that the train runs taught."""


def four_arms(
    environment: Environment, plain: Actor, trained: Actor | None, home: Home, *, max_tasks: int | None = None
) -> Arms:
    """Let the arms try an environment.

    Args:
        environment: whose tasks are tried.
        plain: acts without adapters.
        trained: acts with them; None where that does not apply.
        home: for the logs and the memory of this measurement alone.
        max_tasks: of each split; None takes all.

    Raises:
        LineageError: a report task was learned from.
        LlmError: a language model did not answer.
    """
    tasks = [task for split in ("train", "gate", "report") for task in tasks_of(environment, split, max_tasks)]
    everywhere = play_all(environment, plain, tasks, label=f"{environment.domain} none")
    memory = learned_memory(everywhere, environment.domain, plain.name, home)
    chosen = [task for task in tasks if task.split == "report"]
    shown = recalled(memory, chosen, environment.domain)
    runs = {"none": [run for run in everywhere if run.task.split == "report"]}
    runs["context"] = play_all(environment, plain, chosen, shown, label=f"{environment.domain} context")
    if trained is not None:
        runs["weights"] = play_all(environment, trained, chosen, label=f"{environment.domain} weights")
        runs["dual"] = play_all(environment, trained, chosen, shown, label=f"{environment.domain} dual")
    return Arms(everywhere, runs, len(memory.bank(DAY).items))


def tasks_of(environment: Environment, split: Split, most: int | None = None) -> list[EnvironmentTask]:
    """Tasks of a split in the environment's order, the first ones where there are more than wanted."""
    found = [task for task in environment.tasks() if task.split == split]
    return found[:most]
