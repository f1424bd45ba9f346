"""People's edits as files: written once, of their own day, found in the day's deltas whatever else is made again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from synde_pipeline.errors import InputError, LineageError, RemovalError
from synde_pipeline.lease import lease
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.daily import DELTAS, MEMORY, fresh_deltas, publish_deltas, publish_memory
from synde_pipeline.memory.editor import apply_edits, every_item
from synde_pipeline.memory.edits import (
    EDITS,
    adding,
    edit_days,
    edits_hash,
    lesson_of,
    pinning,
    quarantining,
    read_edits,
    record,
    restoring,
    retiring,
    rewriting,
    signed,
)
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.records import MemoryItem
from synde_pipeline.reflection.daily import load_reflections, publish_reflections, stale_reflections
from synde_pipeline.removal.inputs import Gone, purge_landing, rewrite_days
from synde_pipeline.settings import LlmConfig, MemoryConfig, ReflectionConfig, Settings
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline_tests import llm_server
from synde_pipeline_tests.helpers import called, land, trajectory
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.memory.test_store import materialise
from synde_pipeline_tests.reflection.small_model import model

CONFIG = MemoryConfig(embedder="hashing")
TEXTS = {"title": "Ask first", "description": "When a member calls.", "content": "Ask for the card number."}
ITEM = MemoryItem(item_id="ab12", domain="library", kind="strategy", scope="site:zormek", supports=(), **TEXTS)


def an_add(**texts: str):
    return adding(lesson_of(kind="strategy", scope="", **(TEXTS | texts)), "library")


def today() -> date:
    return datetime.now(UTC).date()


def settings_of(warehouse: Warehouse) -> Settings:
    return Settings(home=warehouse.root.parent, memory=CONFIG)


def test_an_edit_is_a_persons_delta_of_today(warehouse):
    (edit,) = record(warehouse, [an_add()])
    assert (edit.source, edit.task_id, edit.outcome) == ("human", "", "unknown")
    assert edit.at is not None
    assert abs(datetime.now(UTC) - edit.at) < timedelta(minutes=5)
    assert edit.day == edit.effective_day == edit.at.date()
    assert edit.trace_uid.startswith("human:")
    assert read_edits(warehouse, edit.day) == [edit]
    assert edit_days(warehouse) == [edit.day]


def test_what_edits_say_of_an_item():
    said = {
        (edit.op, edit.value, edit.target, edit.domain, edit.scope)
        for edit in (
            rewriting(ITEM, {"content": "new"}),
            pinning(ITEM),
            pinning(ITEM, is_pinned=False),
            retiring(ITEM),
            quarantining(ITEM),
            restoring(ITEM),
            quarantining("evil"),
            restoring("source:evil"),
        )
    }
    here = ("ab12", "library", "site:zormek")
    assert said == {
        ("UPDATE", "text", *here),
        ("UPDATE", "pin", *here),
        ("UPDATE", "unpin", *here),
        ("SUPERSEDE", "retire", *here),
        ("SUPERSEDE", "quarantine", *here),
        ("UPDATE", "restore", *here),
        ("SUPERSEDE", "quarantine", "source:evil", "", ""),
        ("UPDATE", "restore", "source:evil", "", ""),
    }
    new = rewriting(ITEM, {"content": "new"})
    assert (new.title, new.description, new.content) == ("", "", "new"), "what others said stays theirs"


def test_words_that_a_person_left_as_they_were_go_on_following_their_evidence():
    def said(k: int, **texts: str):
        edit = an_add(**texts)
        return edit.model_copy(update={"trace_uid": f"test:{k}", "source": "rules", "task_id": TRAIN[k]})

    rows = [said(0, content="Tell member 77 to wait."), said(1), said(2)]
    (item,) = every_item(fold(rows, date.max, CONFIG, HashingEmbedder().embed))
    assert "member 77" in item.content
    edit = signed(rewriting(item, {"description": "By phone."}), datetime.now(UTC))
    (edited,) = every_item(fold([*rows, edit], date.max, CONFIG, HashingEmbedder().embed))
    assert (edited.description, edited.content) == ("By phone.", item.content)
    (without,) = every_item(fold([*rows, edit], date.max, CONFIG, HashingEmbedder().embed, without_task=TRAIN[0]))
    assert without.description == "By phone."
    assert "member 77" not in without.content
    bare = signed(rewriting(edited, {"description": ""}), datetime.now(UTC) + timedelta(seconds=1))
    (emptied,) = every_item(fold([*rows, edit, bare], date.max, CONFIG, HashingEmbedder().embed))
    assert (emptied.title, emptied.description, emptied.content) == (item.title, "", item.content)


def test_a_source_whose_name_holds_an_at_sign_is_shut_out_by_its_whole_name():
    edit = signed(quarantining("shop@eu"), datetime(2026, 1, 1, tzinfo=UTC))
    rows = [
        an_add(title=source).model_copy(update={"trace_uid": f"{source}:{k}", "source": "rules", "task_id": TRAIN[k]})
        for source in ("shop", "shop@eu")
        for k in range(2)
    ]
    bank = fold([*rows, edit], date.max, CONFIG, HashingEmbedder().embed)
    assert {item.title: item.status for item in every_item(bank)} == {"shop": "active", "shop@eu": "quarantined"}


def test_of_two_edits_the_later_one_has_the_later_time_even_if_the_clock_goes_back(warehouse):
    ahead = signed(retiring(ITEM), datetime.now(UTC) + timedelta(seconds=30))
    path = warehouse.path(EDITS, str(ahead.day)) / f"{ahead.trace_uid.removeprefix('human:')}.json"
    write_atomically(path, ahead.model_dump_json())
    first, second = record(warehouse, [restoring(ITEM), pinning(ITEM)])
    assert first.day != ahead.day or ahead.at < first.at  # a test that runs at midnight sees two days
    assert first.at < second.at


@pytest.mark.parametrize("change", ["content", "day", "name", "folder", "garbage"])
def test_an_edit_that_was_tampered_with_is_refused(change, warehouse):
    (edit,) = record(warehouse, [an_add()])
    folder = warehouse.path(EDITS, str(edit.day))
    path = folder / f"{edit.trace_uid.removeprefix('human:')}.json"
    day = edit.day
    if change == "content":
        path.write_text(path.read_text().replace("card number", "password"))
    elif change == "day":
        yesterday = edit.model_copy(update={"effective_day": edit.day - timedelta(1)})
        path.write_text(yesterday.model_dump_json())
    elif change == "name":
        path.rename(folder / "0000.json")
    elif change == "folder":
        day = edit.day - timedelta(1)
        folder.rename(warehouse.path(EDITS, str(day)))
    else:
        path.write_text("{")
    with pytest.raises(LineageError):
        read_edits(warehouse, day)


def test_a_days_deltas_hold_its_edits_and_name_them_as_an_input(warehouse):
    day = today()
    land(warehouse, [trajectory(day=day)])
    materialise(warehouse, day)
    before = warehouse.header(DELTAS, str(day))
    assert EDITS not in before.inputs
    apply_edits(warehouse, settings_of(warehouse), [an_add()])
    after = warehouse.header(DELTAS, str(day))
    assert after.inputs == before.inputs | {EDITS: edits_hash(warehouse, day)}
    assert after.content_hash != before.content_hash
    assert len([row for row in read_ledger(warehouse)[0] if row.source == "human"]) == 1
    data = warehouse.table_path(DELTAS, str(day)).read_bytes()
    materialise(warehouse, day)
    assert warehouse.table_path(DELTAS, str(day)).read_bytes() == data  # law 4


def test_a_day_without_logs_can_be_edited(warehouse):
    (edit,) = apply_edits(warehouse, settings_of(warehouse), [an_add()])
    rows, _ = read_ledger(warehouse)
    assert rows == [edit]
    fresh_header(warehouse, MEMORY, str(edit.day), {DELTAS: str(edit.day)})


def test_a_day_that_an_edit_publishes_first_is_read_as_the_settings_say(warehouse):
    land(warehouse, [trajectory(task=TRAIN[0], day=today(), outcome="unknown")])
    settings = settings_of(warehouse).model_copy(update={"reflection": ReflectionConfig(judge="off")})
    (edit,) = apply_edits(warehouse, settings, [an_add()])
    (reflection,) = load_reflections(warehouse, edit.day)
    assert reflection.label_source == "none"


def test_an_edit_that_was_stored_but_not_published_makes_the_day_stale(warehouse):
    (first,) = apply_edits(warehouse, settings_of(warehouse), [an_add()])
    record(warehouse, [an_add(title="Another")])  # as if killed before publishing
    with pytest.raises(LineageError, match=EDITS):
        fresh_deltas(warehouse, first.day)
    with pytest.raises(LineageError, match=EDITS):
        publish_memory(warehouse, first.day)
    publish_deltas(warehouse, first.day, CONFIG)
    publish_memory(warehouse, first.day)
    assert len(read_ledger(warehouse)[0]) == 2


def test_no_secret_is_kept_and_empty_words_are_refused(warehouse):
    secret = "ghp_" + "a1" * 20
    (edit,) = record(warehouse, [an_add(content=f"use {secret}")])
    assert secret not in edit.content
    for wrong in ({"title": " "}, {"content": ""}):
        with pytest.raises(InputError, match="is empty"):
            an_add(**wrong)
    with pytest.raises(InputError, match="kind"):
        lesson_of(kind="rumour", scope="", **TEXTS)
    for wrong in ("", "a:b"):
        with pytest.raises(InputError, match="no source system"):
            quarantining(wrong)


def test_edits_made_at_once_are_all_there(warehouse):
    edits = [an_add(title=f"Lesson {word}") for word in ("one", "two", "three", "four")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda edit: apply_edits(warehouse, settings_of(warehouse), [edit]), edits))
    rows, _ = read_ledger(warehouse)
    assert {row.title for row in rows} == {edit.title for edit in edits}
    fresh_deltas(warehouse, rows[0].day)


def test_an_edit_that_waited_while_a_removal_began_is_refused_and_not_stored(warehouse):
    with ThreadPoolExecutor(1) as pool:
        with lease(warehouse.root, EDITS):
            waiting = pool.submit(apply_edits, warehouse, settings_of(warehouse), [an_add()])
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            write_atomically(active_path(warehouse), '{"number": 1}')
        with pytest.raises(RemovalError):
            waiting.result(timeout=60)
    assert edit_days(warehouse) == []


def test_taking_a_days_last_log_out_leaves_its_edits(warehouse):
    gone = trajectory(task=TRAIN[0], day=today())
    land(warehouse, [gone])
    materialise(warehouse, today())
    (edit,) = apply_edits(warehouse, settings_of(warehouse), [an_add()])
    assert len(read_ledger(warehouse)[0]) > 1
    what = Gone(frozenset([gone.trace_uid]))
    purge_landing(warehouse, what)
    rewrite_days(warehouse, [str(edit.day)], what, CONFIG)
    assert read_ledger(warehouse)[0] == [edit]
    fresh_deltas(warehouse, edit.day)


def test_an_edit_asks_no_language_model_about_logs_that_none_has_read(warehouse):
    """The day keeps what is there, is stale until a run that may ask, and the edit counts at once."""
    day = today()
    first, second = (
        trajectory(f"test:{k}", task=TRAIN[k], day=day, steps=called(("find", {}, "no", False))) for k in range(2)
    )
    with llm_server.serving(model) as server:
        by_llm = Settings(
            home=warehouse.root.parent,
            memory=CONFIG.model_copy(update={"min_tasks": 1}),
            llm=LlmConfig(base_url=server.url, model="small"),
            reflection=ReflectionConfig(engine="llm"),
        )
        land(warehouse, [first])
        apply_edits(warehouse, by_llm, [an_add()])
        assert server.asked == []
        assert load_reflections(warehouse, day) == []
        assert stale_reflections(warehouse, by_llm) == [str(day)]
        publish_reflections(warehouse, day, by_llm)
        read = load_reflections(warehouse, day)
        land(warehouse, [first, second])
        publish_raw_logs(warehouse, day)
        apply_edits(warehouse, by_llm, [an_add(title="Ask twice")])
        assert len(server.asked) == 1
        assert load_reflections(warehouse, day) == read
        assert stale_reflections(warehouse, by_llm) == [str(day)]
        assert fresh_deltas(warehouse, day)
        titles = {item.title for item in every_item(Memory.load(warehouse, by_llm.memory).bank(day))}
        assert titles >= {"Ask first", "Ask twice", "find needs a title"}
        publish_reflections(warehouse, day, by_llm)
        assert len(server.asked) == 2
        assert stale_reflections(warehouse, by_llm) == []


def test_a_lesson_as_long_as_a_book_and_a_scope_that_names_nothing_are_refused():
    texts = {"kind": "strategy", "title": "t", "description": ""}
    with pytest.raises(InputError, match="20001 characters"):
        lesson_of(scope="", content="x" * 20_000, **texts)
    for scope in ("no colon", "site:", ":zormek", "Site:zormek"):
        with pytest.raises(InputError, match="scope"):
            adding(lesson_of(scope=scope, content="c", **texts), "library")
    assert adding(lesson_of(scope="tool:look up", content="c", **texts), "library").scope == "tool:look up"
