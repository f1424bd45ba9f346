"""What the worlds share: places with hidden conventions, tasks, and episodes that the environment judges.

A place (site, repository, notebook) hides one right option for every stage. Nothing but trying, or having tried,
reveals it. An episode leads through the stages of its task; each action names a stage's tool and an option. The words
of one world are in its own file; how an agent acts is in `simulation.agent`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import NamedTuple

ANSWER = "answer"
"""Tool that ends an episode with a value."""
SPARE_STEPS = 2
"""Actions beyond the ones that an agent who knows everything needs: two mistakes are forgiven, a third is not."""


@dataclass(frozen=True)
class Stage:
    """One decision that every task on a place has to get right."""

    tool: str
    options: tuple[str, ...]
    done: str
    """Word that comes back when the option was right."""
    wrong: str
    """Word that comes back when it was not; the stage stays."""
    is_final: bool = False
    """Whether a wrong first option (all but the first one listed) is a verdict that ends the episode."""


@dataclass(frozen=True)
class World:
    """The vocabulary of one domain."""

    domain: str
    place: str
    """Kind of place, the first half of a scope: `site`, `repository`, `notebook`."""
    stages: tuple[Stage, ...]
    """In the order in which tasks pass them."""
    needed: tuple[str, ...]
    """Tools by importance: a task of n facts passes the first n of them."""
    shows: str
    """Tool whose success shows the value that the task asks for."""
    things: tuple[str, ...]
    ask: str
    """Task text with `{thing}` and `{name}`."""

    def passed(self, n_facts: int) -> tuple[Stage, ...]:
        """Stages of a task that needs `n_facts` facts, in order."""
        tools = self.needed[:n_facts]
        return tuple(stage for stage in self.stages if stage.tool in tools)


def _syllables() -> tuple[str, ...]:
    """128 of all consonant-vowel-consonant syllables, by a hash: the same for ever."""
    every = ["".join(parts) for parts in product("bdfgkmpstvz", "aeiou", "bgklmnr")]
    return tuple(sorted(every, key=lambda text: hashlib.sha256(f"syllable:{text}".encode()).digest())[:128])


FIRSTS, SECONDS = _syllables()[:64], _syllables()[64:]
"""Syllables that names begin and end with. No syllable does both: a name is known by its parts, not by their order."""
NAMES = tuple(first + second for first in FIRSTS for second in SECONDS)
"""4096 names of places."""


def _draw(*what: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, what)).encode()).digest()[:8], "big")


@lru_cache(maxsize=8192)
def is_held_out(name: str) -> bool:
    """Whether a name is never used in pre-training: a quarter of all, by a hash of the name."""
    return _draw("held out", name) % 4 == 0


HELD_OUT = tuple(name for name in NAMES if is_held_out(name))
SEEN_IN_PRETRAINING = tuple(name for name in NAMES if not is_held_out(name))


class Rules(NamedTuple):
    """How hard the worlds are; all off by default."""

    n_facts: int = 4
    """Facts that a task needs, 2 to 6."""
    transient_rate: float = 0.0
    """Share of right actions that time out once and have to be repeated."""
    decoy_rate: float = 0.0
    """Share of wrong options of the showing stage that show a wrong value instead of an error."""
    drift_day: int | None = None
    """Day of the simulation (1 is the first) from which on conventions are other ones."""
    drift_share: float = 0.5
    """Share of (place, stage) whose convention changes then."""


PLAIN = Rules()


@dataclass(frozen=True)
class Place:
    """One place of a world; its conventions follow from seed and name."""

    world: World
    name: str
    seed: int
    rules: Rules = PLAIN

    @property
    def scope(self) -> str:
        """The scope that its logs carry."""
        return f"{self.world.place}:{self.name}"

    def right_option(self, stage: Stage, day: int) -> str:
        """The hidden convention of a stage on a day of the simulation."""
        key = (self.seed, self.world.domain, self.name, stage.tool)
        right = stage.options[_draw("convention", *key) % len(stage.options)]
        drift = self.rules.drift_day
        changes = _draw("drifts", *key) / 2**64 < self.rules.drift_share
        if drift is None or day < drift or not changes:
            return right
        others = [option for option in stage.options if option != right]
        return others[_draw("drifted", *key) % len(others)]


@dataclass(frozen=True)
class Task:
    """One task on one place. What it asks for (the value) is known to the environment alone."""

    place: Place
    thing: str
    number: int
    day: int = 1

    @property
    def task_id(self) -> str:
        """`sim:<domain>:<seed>-<name>-<thing>-<number>`."""
        place = self.place
        return f"sim:{place.world.domain}:{place.seed}-{place.name}-{self.thing}-{self.number}"

    @property
    def text(self) -> str:
        """The task as the agent sees it."""
        return self.place.world.ask.format(thing=self.thing, name=self.place.name)

    @property
    def value(self) -> str:
        """What a right answer says."""
        return value_of(_draw("value", self.task_id))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that it passes, in order."""
        return self.place.world.passed(self.place.rules.n_facts)

    @property
    def budget(self) -> int:
        """Actions before the environment ends the episode."""
        return len(self.stages) + 1 + SPARE_STEPS


def value_of(draw: int) -> str:
    """A value such as `17.42`, from any integer."""
    return f"{10 + draw % 90}.{10 + draw // 90 % 90}"


class Reply(NamedTuple):
    """What the environment answers to one action."""

    result: str
    success: bool
    """Whether the action made progress."""
    is_over: bool


@dataclass
class Episode:
    """One run of a task: the environment's side. It alone decides about success."""

    task: Task
    seed: int = 0
    """Of the chance in it (timeouts, decoys); the same for every agent that tries the task."""
    n_steps: int = 0
    is_over: bool = False
    is_success: bool = False
    _at: int = 0
    _shown: str = ""
    _timed_out: set[str] = field(default_factory=set)

    @property
    def observation(self) -> str:
        """What the agent sees before its first action."""
        return f"start {self._stage_name}"

    @property
    def _stage_name(self) -> str:
        stages = self.task.stages
        return stages[self._at].tool if self._at < len(stages) else ANSWER

    def act(self, tool: str, arguments: str) -> Reply:
        """Take one action.

        Raises:
            RuntimeError: the episode is over.
        """
        if self.is_over:
            raise RuntimeError(f"the episode of {self.task.task_id} is over")
        self.n_steps += 1
        reply = self._answer(arguments) if tool == self._stage_name == ANSWER else self._try(tool, arguments)
        self.is_over = reply.is_over or self.n_steps >= self.task.budget
        return reply._replace(is_over=self.is_over)

    def _answer(self, arguments: str) -> Reply:
        self.is_success = arguments == self.task.value
        return Reply("accepted" if self.is_success else "wrong", self.is_success, True)

    def _try(self, tool: str, option: str) -> Reply:
        stages = self.task.stages
        stage = stages[self._at] if self._at < len(stages) else None
        if stage is None or tool != stage.tool or option not in stage.options:
            return Reply(f"unknown {self._stage_name}", False, False)
        right = self.task.place.right_option(stage, self.task.day)
        if option == right:
            return self._pass(stage)
        if stage.is_final and option != stage.options[0]:
            return Reply("rejected", False, True)
        if (
            stage.tool == self.task.place.world.shows
            and self._chance("decoy", option) < self.task.place.rules.decoy_rate
        ):
            self._at += 1
            return Reply(self._shows(value_of(_draw("decoy", self.task.task_id, option)), stage), True, False)
        return Reply(f"{stage.wrong} {stage.tool}", False, False)

    def _pass(self, stage: Stage) -> Reply:
        if (
            stage.tool not in self._timed_out
            and self._chance("timeout", stage.tool) < self.task.place.rules.transient_rate
        ):
            self._timed_out.add(stage.tool)
            return Reply(f"timeout {stage.tool}", False, False)
        self._at += 1
        if stage.tool == self.task.place.world.shows:
            return Reply(self._shows(self.task.value, stage), True, False)
        return Reply(f"{stage.done} {self._stage_name}", True, False)

    def _shows(self, value: str, stage: Stage) -> str:
        return f"{stage.done} {value} {self._stage_name}"

    def _chance(self, *what: object) -> float:
        return _draw(self.seed, self.task.task_id, *what) / 2**64
