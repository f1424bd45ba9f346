"""Writes a world's trajectories from memory alone: its general templates, filled with what the memory says of a place.

No environment is asked and no convention read: an observation is what any place of the world says there. What memory
does not know is acted out with any option and taught with no weight; the value that a task asks for is invented.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synde_pipeline.records import MemoryItem, place_of
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.worlds.base import ANSWER, Stage, World, value_of
from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline.training.examples import ExampleTurn
from synde_pipeline.training.from_memory import LESSONS, Written, turn
from synde_pipeline.training.weights import Signal


@dataclass(frozen=True)
class WorldScribe:
    """One trajectory for each thing that a task may ask for; domains of no world get plain lessons."""

    n_facts: int
    """Facts that a task needs, as every task of the world shows."""
    name: str = "world"

    def __call__(self, domain: str, scope: str, items: Sequence[MemoryItem]) -> list[Written]:
        """Act out what memory knows of the place; nothing where it knows nothing that a task needs."""
        world = WORLDS.get(domain)
        if world is None or not place_of(scope):
            return LESSONS(domain, scope, items)
        stages = world.passed(self.n_facts)
        known = {item.title: item for item in items if item.title in {stage.tool for stage in stages}}
        if not known:
            return []
        name = place_of(scope)
        return [
            Written(world.ask.format(thing=thing, name=name), tuple(_turns(world, stages, known, (name, thing))))
            for thing in world.things
        ]


def scribe_of(config: SimulationConfig) -> WorldScribe:
    """The scribe of a laboratory."""
    return WorldScribe(config.n_facts)


def _turns(
    world: World, stages: Sequence[Stage], known: dict[str, MemoryItem], about: tuple[str, str]
) -> Iterator[ExampleTurn]:
    value = value_of(_draw("value", *about))
    state, number = f"start {stages[0].tool}", 0
    for at, stage in enumerate(stages):
        item = known.get(stage.tool)
        for option, signal in _actions(stage, item, (*about, stage.tool)):
            yield turn(number, state, (stage.tool, option), signal, reasoning=about[0])
            number += 1
            state = f"{stage.wrong} {stage.tool}"
        following = stages[at + 1].tool if at + 1 < len(stages) else ANSWER
        state = f"{stage.done} {value} {following}" if stage.tool == world.shows else f"{stage.done} {following}"
    yield turn(number, state, (ANSWER, value), "imitate", reasoning=about[0])


def _actions(stage: Stage, item: MemoryItem | None, key: tuple[str, ...]) -> Iterator[tuple[str, Signal]]:
    """Options tried at a stage, the last of which goes on: what works, or what fails and then any other one."""
    if item is not None and item.kind == "strategy":
        yield item.content, "imitate"
        return
    failing = [option for option in stage.options if item is not None and option in item.content.split(", ")]
    # A wrong final option ends an episode: nothing goes on behind it.
    if failing and not stage.is_final:
        yield failing[_draw("fails", *key) % len(failing)], "avoid"
    left = [option for option in stage.options if option not in failing] or list(stage.options)
    yield left[_draw("goes on", *key) % len(left)], "context"


def _draw(*what: str) -> int:
    return int.from_bytes(hashlib.sha256(":".join(("scribe", *what)).encode()).digest()[:8], "big")
