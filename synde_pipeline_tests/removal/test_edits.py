"""Law 8 for what a person said: an edit that is removed was never made; undoing it would keep its words."""

from datetime import UTC, datetime, time, timedelta

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.memory.edits import EDITS, adding, lesson_of, read_edits, signed
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.removal.remove import plan_of, remove
from synde_pipeline.removal.request import Request
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline.training.daily import SHARDS
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.removal.history import SCRIPT, Step, live, run, settings_of, state_of

WORDS = "ask Ada Smith"


def edited(warehouse: Warehouse, scope: str, content: str, days: int = 0) -> str:
    """A person's lesson of a past day."""
    lesson = lesson_of(kind="strategy", scope=scope, title="renew", description="", content=content)
    at = datetime.combine(DAY + timedelta(days), time(12), UTC)
    edit = signed(adding(lesson, "library"), at)
    path = warehouse.path(EDITS, str(edit.day)) / f"{edit.trace_uid.removeprefix('human:')}.json"
    write_atomically(path, edit.model_dump_json())
    return edit.trace_uid


def lived(home, script, *, with_it: bool):
    settings = settings_of("routed", home, views=1, tip_dropout=0.0)
    warehouse = Warehouse(settings.warehouse)
    pin_tiny(warehouse)
    edited(warehouse, "", "Say hello.")
    uid = edited(warehouse, "site:a", WORDS, days=1) if with_it else ""
    live(warehouse, settings, script)
    return warehouse, settings, uid


def check(tmp_path, script, cycles: set[str]) -> None:
    warehouse, settings, uid = lived(tmp_path / "with", script, with_it=True)
    shards = {key: warehouse.read_table(SHARDS, key)["memory_trajectories"].to_pylist() for key in cycles}
    assert all(uid in set().union(*uids) for uids in shards.values()), "it was read in training"
    other, _, _ = lived(tmp_path / "without", script, with_it=False)
    assert any(delta.content == WORDS for delta in read_ledger(warehouse)[0])
    certificate = remove(warehouse, settings, Request(trace=uid))
    assert uid not in str(certificate)
    assert state_of(warehouse) == state_of(other)
    files = [path for path in warehouse.root.rglob("*") if path.is_file()]
    assert [path for path in files if WORDS.encode() in path.read_bytes() or uid.encode() in path.read_bytes()] == []
    assert [edit.content for edit in read_edits(warehouse, DAY)] == ["Say hello."]
    with pytest.raises(InputError, match="nothing in the warehouse is meant"):
        plan_of(warehouse, settings, Request(trace=uid))


def test_an_edit_that_was_removed_was_never_made(tmp_path):
    check(tmp_path, [Step([run("a", 0), run("b", 1, task=1)], is_trained=False)], set())


@pytest.mark.slow
def test_cycles_that_could_see_a_removed_edit_are_made_again(tmp_path):
    check(tmp_path, SCRIPT, {"library-0003"})
