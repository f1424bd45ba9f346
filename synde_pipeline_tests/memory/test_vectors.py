"""Kept vectors: what one process embedded, the next one finds; nothing that a user asks is kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.embed import HashingEmbedder, pinned_name
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.vectors import VECTORS, KeptVectors
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import land
from synde_pipeline_tests.memory.test_store import DAYS, history, materialise

CONFIG = MemoryConfig(embedder="hashing", min_tasks=1)


def files(warehouse):
    return sorted((warehouse.root / VECTORS).rglob("*.parquet"))


@given(st.lists(st.dictionaries(st.text(max_size=8), st.integers(-9, 9), min_size=1, max_size=5), max_size=80))
@settings(max_examples=20, deadline=None)
def test_whatever_is_added_in_any_number_of_parts_is_found_by_another_process(tmp_path_factory, parts):
    warehouse = Warehouse(tmp_path_factory.mktemp("kept"))
    expected = {}
    for part in parts:
        vectors = {text: np.full(3, value, np.float32) for text, value in part.items() if text not in expected}
        expected |= vectors
        if vectors:
            KeptVectors(warehouse, "hashing@1").add(vectors)
    found = KeptVectors(warehouse, "hashing@1").find([*expected, "never added"])
    assert {text: vector.tolist() for text, vector in found.items()} == {t: v.tolist() for t, v in expected.items()}
    assert len(files(warehouse)) <= 33
    assert KeptVectors(warehouse, "hashing@2").find([*expected]) == {}


def test_a_new_process_finds_what_the_fold_embedded_and_no_question_is_kept(warehouse):
    land(warehouse, history())
    for day in DAYS:
        materialise(warehouse, day)
    memory = Memory.load(warehouse, CONFIG)
    bank = memory.bank(DAYS[-1])
    memory.recall("a question of a user", domain="library", as_of=DAYS[-1])
    worded = sorted(memory.vectors.keys() - {row.delta.key_text for row in memory.ledger.rows})
    kept = KeptVectors(warehouse, pinned_name("hashing")).find([*worded, "a question of a user"])
    assert worded
    assert list(kept) == worded
    np.testing.assert_array_equal(np.stack([*kept.values()]), HashingEmbedder().embed(worded))
    before = files(warehouse)
    assert Memory.load(warehouse, CONFIG).bank(DAYS[-1]).bank_hash == bank.bank_hash
    assert files(warehouse) == before


def test_nothing_is_written_while_a_removal_is_under_way(warehouse):
    kept = KeptVectors(warehouse, "hashing@1")
    kept.add({"before": np.ones(3, np.float32)})
    active_path(warehouse).parent.mkdir(parents=True, exist_ok=True)
    active_path(warehouse).write_text("{}")
    kept.add({"meanwhile": np.ones(3, np.float32)})
    assert set(kept.find(["before", "meanwhile"])) == {"before", "meanwhile"}
    assert set(KeptVectors(warehouse, "hashing@1").find(["before", "meanwhile"])) == {"before"}


def test_what_is_added_first_hides_nothing_that_lay_there(warehouse):
    KeptVectors(warehouse, "hashing@1").add({"old": np.ones(3, np.float32)})
    other = KeptVectors(warehouse, "hashing@1")
    other.add({"new": np.zeros(3, np.float32)})
    assert set(other.find(["old", "new"])) == {"old", "new"}
