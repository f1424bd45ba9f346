"""Trajectories written in a world's words: they read as the environment answers, and teach what memory says alone."""

import pytest

from synde_pipeline.records import MemoryItem, Support, split_of
from synde_pipeline.simulation.scribe import WorldScribe
from synde_pipeline.simulation.worlds.base import ANSWER, Episode, Place, Task
from synde_pipeline.simulation.worlds.registry import WORLDS

SCRIBE = WorldScribe(4)


def item(place, stage, content, kind="strategy"):
    support = Support(task_id="sim:web:1", trace_uid="sim:1", outcome="success")
    return MemoryItem(
        item_id="0" * 16,
        domain=place.world.domain,
        kind=kind,
        scope=place.scope,
        title=stage.tool,
        description="",
        content=content,
        supports=(support,),
    )


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_what_is_written_of_a_known_place_is_what_the_environment_would_have_answered(world):
    place = Place(world, "zormek", seed=3)
    stages = world.passed(4)
    written = SCRIBE(world.domain, place.scope, [item(place, s, place.right_option(s, 1)) for s in stages])
    assert len(written) == len(world.things)
    for one, thing in zip(written, world.things, strict=True):
        task = next(t for n in range(99) if split_of((t := Task(place, thing, n)).task_id) == "train")
        episode = Episode(task)
        invented = one.turns[-1].arguments
        assert one.task == task.text
        state = episode.observation
        for turn in one.turns:
            assert turn.state == state.replace(task.value, invented)
            assert (turn.signal, turn.reasoning) == ("imitate", "zormek")
            arguments = task.value if turn.tool == ANSWER else turn.arguments
            state = episode.act(turn.tool, arguments).result
        assert episode.is_success


def test_what_memory_does_not_know_is_acted_out_and_not_taught():
    world = WORLDS["web"]
    place = Place(world, "zormek", seed=3)
    known, avoided = world.passed(4)[0], world.passed(4)[2]
    told = [item(place, known, "browse"), item(place, avoided, ".price, #cost", kind="pitfall")]
    for one in SCRIBE("web", place.scope, told):
        signals = [(turn.tool, turn.signal) for turn in one.turns]
        first, unknown, last = known.tool, world.passed(4)[1].tool, world.passed(4)[3].tool
        assert signals == [
            (first, "imitate"),
            (unknown, "context"),
            (avoided.tool, "avoid"),
            (avoided.tool, "context"),
            (last, "context"),
            (ANSWER, "imitate"),
        ]
        assert one.turns[2].arguments in (".price", "#cost")
        assert one.turns[3].arguments not in (".price", "#cost")
        assert one.turns[3].state == f"{avoided.wrong} {avoided.tool}"
        assert [turn.index for turn in one.turns] == list(range(6))


def test_nothing_is_written_about_a_place_that_memory_does_not_know():
    assert SCRIBE("web", "site:zormek", []) == []


def test_logs_that_belong_to_no_world_get_plain_lessons():
    place = Place(WORLDS["web"], "zormek", seed=3)
    told = [item(place, place.world.stages[0], "guest")]
    assert [len(one.turns) for one in SCRIBE("retail", place.scope, told)] == [1]
