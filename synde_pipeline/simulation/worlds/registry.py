"""The worlds there are, and all the words that their texts are made of."""

from synde_pipeline.simulation.worlds.base import ANSWER, World
from synde_pipeline.simulation.worlds.code import CODE
from synde_pipeline.simulation.worlds.math import MATH
from synde_pipeline.simulation.worlds.web import WEB

WORLDS: dict[str, World] = {world.domain: world for world in (WEB, CODE, MATH)}


def words() -> list[str]:
    """Every word that tasks, actions and observations use, without the names of places, each once."""
    found = [ANSWER, "start", "timeout", "unknown", "rejected", "accepted", "wrong"]
    for world in WORLDS.values():
        found += [world.domain, world.place, *world.things]
        found += [word for word in world.ask.split() if "{" not in word]
        for stage in world.stages:
            found += [stage.tool, *stage.options, stage.done, stage.wrong]
    return list(dict.fromkeys(found))
