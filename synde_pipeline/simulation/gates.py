"""What the embedded base must be able to do before it is shipped, measured by letting it act on names it never saw.

The gates do not test knowledge but the ability to use it: without hints it must not succeed by luck, with all hints
it must, and hints about other places must not mislead it.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import EvaluationConfig, PromptConfig
from synde_pipeline.simulation.acting import success_by_place, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment, Run
from synde_pipeline.simulation.lab import Timed
from synde_pipeline.simulation.tasks import held_out_tasks
from synde_pipeline.simulation.worlds.base import HELD_OUT, Place, Task
from synde_pipeline.simulation.worlds.registry import WORLDS

N_PLACES = 120
N_TASKS = 600


@dataclass(frozen=True)
class Gate:
    """One condition on success on unseen places, at sampling temperature 1."""

    name: str
    limit: float
    is_upper: bool
    """Whether success must stay at or below the limit, instead of at or above it."""
    n_own: int | None
    """Right hints shown; None shows one for every stage of the task."""
    n_other: int = 0
    """Hints about other places, each at a stage of the task and with an option that is wrong here."""


GATES = (
    Gate("no hints", 0.25, is_upper=True, n_own=0),
    Gate("all hints", 0.90, is_upper=False, n_own=None),
    Gate("all hints and 3 irrelevant ones", 0.80, is_upper=False, n_own=None, n_other=3),
)


@dataclass(frozen=True)
class Measured:
    """A gate's outcome."""

    gate: Gate
    success: float
    se: float
    """Standard error, clustered by place."""
    low: float
    high: float
    n: int
    n_places: int

    @property
    def is_passed(self) -> bool:
        """Whether the measured rate is on the right side of the limit."""
        return self.success <= self.gate.limit if self.gate.is_upper else self.success >= self.gate.limit

    def line(self) -> str:
        """One line for people."""
        sign = "at most" if self.gate.is_upper else "at least"
        return (
            f"{self.gate.name}: {self.success:.3f} (se {self.se:.3f}, n = {self.n} tasks on {self.n_places} places), "
            f"{sign} {self.gate.limit:.2f} wanted: {'passed' if self.is_passed else 'MISSED'}"
        )

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        return {**asdict(self), "passed": self.is_passed}


def measure_gates(model: Any, tokenizer: Any, *, n_tasks: int = N_TASKS, seed: int = 0) -> list[Measured]:
    """Let a model try the same tasks under every gate.

    Args:
        model: the base in evaluation mode.
        tokenizer: its tokenizer.
        n_tasks: tasks, evenly over `N_PLACES` places that pre-training never saw.
        seed: of conventions, hints and sampling.
    """
    tasks = held_out_tasks(gate_places(seed), "gate", n_tasks, day=1)
    encoder = PromptEncoder(tokenizer, PromptConfig())
    found = []
    for gate in GATES:
        rows = [Assignment(task, hints(task, gate, seed)) for task in tasks]
        runs = Agent(model, tokenizer, encoder, seed=seed).act(rows, label=gate.name)
        found.append(_measured(gate, runs))
    return found


def gate_places(seed: int) -> list[Place]:
    """Unseen places, evenly over the worlds."""
    names = random.Random(f"gates:{seed}").sample(HELD_OUT, N_PLACES)  # noqa: S311 - a simulation, no secret
    worlds = list(WORLDS.values())
    return [Place(worlds[k % len(worlds)], name, seed) for k, name in enumerate(names)]


def hints(task: Task, gate: Gate, seed: int) -> tuple[MemoryItem, ...]:
    """What a gate shows for a task, in random order."""
    chance = random.Random(f"hints:{seed}:{task.task_id}:{gate.name}")  # noqa: S311 - a simulation, no secret
    n_own = len(task.stages) if gate.n_own is None else gate.n_own
    own = [
        hint(task.place, stage.tool, task.place.right_option(stage, task.day))
        for stage in chance.sample(task.stages, n_own)
    ]
    others = [name for name in HELD_OUT if name != task.place.name]
    for name in chance.sample(others, gate.n_other):
        stage = chance.choice(task.stages)
        wrong = [option for option in stage.options if option != task.place.right_option(stage, task.day)]
        own.append(hint(Place(task.place.world, name, seed), stage.tool, chance.choice(wrong)))
    chance.shuffle(own)
    return tuple(own)


def hint(place: Place, tool: str, option: str) -> MemoryItem:
    """A memory item that says what works at a place."""
    return MemoryItem(
        item_id=f"{place.scope} {tool}",
        domain=place.world.domain,
        kind="strategy",
        scope=place.scope,
        title=tool,
        description="",
        content=option,
        supports=(),
    )


def _measured(gate: Gate, runs: Sequence[Run]) -> Measured:
    rows = sums_of(Timed(runs, 0.0))
    found = success_by_place(rows, EvaluationConfig())
    return Measured(gate, found.value, found.se, found.low, found.high, len(runs), len(rows))
