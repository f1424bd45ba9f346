"""`ContextMemory`: what is added is recalled at once, under undoing edits too, and no past day knows it."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.memory.context_memory import ContextMemory
from synde_pipeline.memory.editor import apply_edits, today
from synde_pipeline.memory.edits import pinning, quarantining, restoring, retiring, rewriting
from synde_pipeline.settings import Settings
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.memory.test_store import CONFIG, materialise

FIX = (
    ("find", {"name": "x"}, "Error: argument title is missing", False),
    ("find", {"title": "x"}, "shelf 3", True),
    ("renew", {"shelf": 3}, "renewed", True),
)


def memory_in(folder) -> ContextMemory:
    return ContextMemory(Settings(home=folder, memory=CONFIG))


def test_what_is_added_is_recalled_at_once_and_no_earlier_day_knows_it(tmp_path):
    memory = memory_in(tmp_path)
    item = memory.add("Ask for the card number.", title="Who is calling", domain="library")
    assert item.status == "active"
    assert item.task_ids == frozenset()
    assert memory.recall("who is calling", "library") == [item]
    assert memory.recall("who is calling", "library", k=0) == []
    assert memory.recall("who is calling", "retail") == []
    assert memory.items("library") == memory.items() == [item]
    assert memory.items("retail") == []
    yesterday = memory.as_of(today() - timedelta(1))
    assert yesterday.items() == yesterday.recall("who is calling", "library") == []
    assert not hasattr(yesterday, "add")


def test_an_item_of_a_place_is_recalled_there_alone(tmp_path):
    memory = memory_in(tmp_path)
    item = memory.add("fast", title="search", domain="web", scope="site:zormek")
    assert memory.recall("search it", "web", scope="site:zormek") == [item]
    assert memory.recall("search it", "web", scope="site:other") == []


def test_what_cannot_be_an_item_is_refused_and_nothing_is_stored(tmp_path):
    memory = memory_in(tmp_path)
    for wrong in ({"title": "", "domain": "library"}, {"title": "a", "domain": "No Domain"}):
        with pytest.raises(InputError):
            memory.add("text", **wrong)
    assert not (tmp_path / "warehouse" / "memory_edits").exists()


EDITS = {
    "retire": retiring,
    "quarantine": quarantining,
    "restore": restoring,
    "pin": pinning,
    "unpin": lambda item: pinning(item, is_pinned=False),
    "text": lambda item: rewriting(item, {"content": f"{item.content} More."}),
}


@given(st.lists(st.sampled_from(sorted(EDITS)), max_size=6))
@settings(max_examples=8)
def test_the_last_edit_wins_survives_every_fold_and_is_undone_by_another(tmp_path_factory, names):
    memory = memory_in(tmp_path_factory.mktemp("home"))
    land(memory.warehouse, [trajectory(f"test:{k}", task=TRAIN[k], steps=called(*FIX)) for k in range(3)])
    materialise(memory.warehouse, DAY)
    before = next(item for item in memory.items() if item.kind == "pitfall")
    for name in names:
        (now,) = [item for item in memory.items(inactive=True) if item.item_id == before.item_id]
        apply_edits(memory.warehouse, memory.settings, [EDITS[name](now)])
    materialise(memory.warehouse, DAY)  # made again: the edits are of today
    (after,) = [item for item in memory.items(inactive=True) if item.item_id == before.item_id]
    ended = [name for name in names if name in ("retire", "quarantine", "restore")]
    status = {"retire": "retired", "quarantine": "quarantined", "restore": "active"}[(ended or ["restore"])[-1]]
    pins = [name for name in names if name in ("pin", "unpin")]
    assert after.status == status
    assert after.pinned is (pins[-1:] == ["pin"])
    assert after.content == before.content + " More." * names.count("text")
    assert next(item for item in memory.as_of(DAY).items() if item.item_id == before.item_id) == before
    apply_edits(memory.warehouse, memory.settings, [restoring(after), rewriting(after, {"content": before.content})])
    (undone,) = [item for item in memory.items() if item.item_id == before.item_id]
    assert undone.content == before.content
