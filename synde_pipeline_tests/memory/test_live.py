"""A process that lives long sees what others publish, in any thread, and never half of it."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from synde_pipeline.errors import LineageError
from synde_pipeline.memory.live import LiveMemory, version_of
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.memory.store import drop_old_versions
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import called, land, trajectory
from synde_pipeline_tests.memory import reloading
from synde_pipeline_tests.memory.test_curate import GOOD, TRAIN
from synde_pipeline_tests.memory.test_store import CONFIG, DAYS, history, materialise


def publish_elsewhere(warehouse, *days):
    words = [sys.executable, "-m", reloading.__name__, str(warehouse.root), *map(str, days)]
    subprocess.run(words, check=True, timeout=120)


def days_of(memory: Memory) -> set[date]:
    return {date.fromordinal(day) for day in memory.ledger.uids}


def hashes(memory: Memory) -> list[str]:
    return [memory.bank(day).bank_hash for day in DAYS]


def test_what_another_process_publishes_is_seen_by_the_next_question(warehouse):
    land(warehouse, history())
    for day in DAYS[:2]:
        materialise(warehouse, day)
    live = LiveMemory(warehouse, CONFIG)
    before = live.current()
    assert live.current() is before
    publish_elsewhere(warehouse, DAYS[2])
    after = live.current()
    assert after is not before
    assert days_of(after) == {*DAYS[:3]}
    assert before.bank(DAYS[1]).bank_hash == after.bank(DAYS[1]).bank_hash
    assert hashes(after) == hashes(Memory.load(warehouse, CONFIG))


def test_publishing_what_is_there_already_reloads_nothing(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    live = LiveMemory(warehouse, CONFIG)
    before = live.current()
    publish_elsewhere(warehouse, DAYS[0])
    assert live.current() is before


def test_a_memory_that_appears_later_is_found(warehouse):
    live = LiveMemory(warehouse, CONFIG)
    assert days_of(live.current()) == set()
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    assert days_of(live.current()) == {DAYS[0]}


def test_threads_get_the_old_memory_or_the_new_one_while_days_are_published(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    live = LiveMemory(warehouse, CONFIG)
    live.current()
    done = threading.Event()

    def ask() -> set[int]:
        seen = set()
        while not done.is_set():
            memory = live.current()
            seen.add(len(days_of(memory)))
            memory.recall("please renew", domain="library", as_of=DAYS[-1])
        return seen

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for day in DAYS[1:]:
            materialise(warehouse, day)
        done.set()
        for future in asking:
            assert future.result() <= {1, 2, 3, 4}
    assert hashes(live.current()) == hashes(Memory.load(warehouse, CONFIG))


def test_threads_that_ask_one_memory_get_what_one_thread_gets(warehouse):
    land(warehouse, history())
    for day in DAYS:
        materialise(warehouse, day)
    queries = [
        Query(f"please renew {k}", "library", DAYS[k % 4], f"test:library:{TRAIN[k % 9]}" if k % 2 else None)
        for k in range(40)
    ]
    expected = Memory.load(warehouse, CONFIG).recall_many(queries)
    shared = Memory.load(warehouse, CONFIG)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: shared.recall_many([query])[0], queries)) == expected


def test_past_days_are_the_same_before_and_after_compaction(warehouse):
    land(warehouse, history())
    for day in [*DAYS, DAYS[1]]:
        late = trajectory(f"test:late-{day}", task=TRAIN[5], day=day, steps=called(*GOOD))
        land(warehouse, [late], name=f"late-{day}")
        materialise(warehouse, day)
    before = Memory.load(warehouse, CONFIG)
    query = Query("please renew", "library", DAYS[1])
    banks, answer = hashes(before), before.answers([query])
    live = LiveMemory(warehouse, CONFIG)
    live.current()
    drop_old_versions(warehouse, timedelta(0))
    again = live.current()
    assert hashes(again) == banks
    assert len(set(banks)) > 1
    assert again.answers([query]) == answer
    assert answer[0].items


def test_a_changed_embedder_is_an_error_not_an_old_answer(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    with pytest.raises(LineageError, match="embedded by hashing"):
        LiveMemory(warehouse, MemoryConfig(embedder="minilm")).current()
    assert version_of(warehouse) == version_of(warehouse)
