"""The bank of any day is one lookup, never wrong: it is folded again exactly where its deltas or settings changed."""

import subprocess
import sys
from datetime import date, timedelta
from itertools import chain

import pytest

from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.status import status
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.banks import BANKS, bank_as_of, counts_as_of
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline_tests.helpers import called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, TRAIN
from synde_pipeline_tests.memory.test_store import CONFIG, DAYS, history, materialise


@pytest.fixture
def lived(warehouse: Warehouse) -> Warehouse:
    land(warehouse, history())
    for day in DAYS:
        materialise(warehouse, day)
    return warehouse


def hash_kept(warehouse: Warehouse, day) -> str:
    header = warehouse.header(BANKS, str(day))
    assert header is not None
    return header.info["bank_hash"]


def spoil(warehouse: Warehouse, day) -> None:
    """Change the kept file, so that reading it can be told from folding again."""
    file = warehouse.folder(BANKS, str(day)) / "bank.jsonl"
    file.write_text(file.read_text("utf-8").replace("renew", "read from the file"), "utf-8")


def was_read(warehouse: Warehouse, day, config=CONFIG) -> bool:
    bank = bank_as_of(warehouse, config, day)
    return any("read from the file" in item.model_dump_json() for item in chain(bank.items, bank.others))


def test_a_bank_is_what_the_ledger_folds_into_and_is_read_back_the_same(lived):
    for day in DAYS:
        folded = Memory.load(lived, CONFIG).bank(day)
        assert bank_as_of(lived, CONFIG, day) == folded
        again = bank_as_of(lived, CONFIG, day)
        assert again == folded
        assert again.bank_hash == folded.bank_hash == hash_kept(lived, day)
    assert len({hash_kept(lived, day) for day in DAYS}) > 1


def test_a_kept_bank_is_read_without_folding(lived):
    bank_as_of(lived, CONFIG, DAYS[-1])
    spoil(lived, DAYS[-1])
    assert was_read(lived, DAYS[-1])


def test_what_is_shown_of_a_bank_is_no_reason_to_fold_it_again(lived):
    bank_as_of(lived, CONFIG, DAYS[-1])
    spoil(lived, DAYS[-1])
    assert was_read(lived, DAYS[-1], CONFIG.model_copy(update={"top_k": 9, "recall_tokens": 7}))
    assert not was_read(lived, DAYS[-1], CONFIG.model_copy(update={"min_tasks": 1}))


def test_a_late_run_folds_its_own_day_and_later_ones_again_and_leaves_earlier_ones(lived):
    before = {day: bank_as_of(lived, CONFIG, day) for day in DAYS}
    for day in DAYS:
        spoil(lived, day)
    land(lived, [trajectory("test:late", task=TRAIN[20], day=DAYS[1], steps=called(*GOOD))], name="late")
    materialise(lived, DAYS[1])
    assert was_read(lived, DAYS[0])
    for day in DAYS[1:]:
        assert not was_read(lived, day)
        assert bank_as_of(lived, CONFIG, day) == Memory.load(lived, CONFIG).bank(day) != before[day]


def test_sizes_of_several_days_are_those_of_their_banks_and_are_read_from_headers_alone(lived):
    banks = {day: Memory.load(lived, CONFIG).bank(day) for day in DAYS}
    sizes = {
        day: {
            "active": len(bank.items),
            "tokens": sum(map(n_tokens, bank.items)),
            "others": len(bank.others),
            "orphans": len(bank.orphans),
        }
        for day, bank in banks.items()
    }
    assert len({found["active"] for found in sizes.values()}) > 1
    bank_as_of(lived, CONFIG, DAYS[1])
    assert counts_as_of(lived, CONFIG, DAYS[::-1]) == sizes
    assert {day: bank_as_of(lived, CONFIG, day) for day in DAYS} == banks
    for day in DAYS:
        (lived.folder(BANKS, str(day)) / "bank.jsonl").unlink()
    assert counts_as_of(lived, CONFIG, DAYS) == sizes


def test_status_reads_a_kept_bank(lived):
    settings = Settings(home=lived.root.parent, memory=CONFIG)
    n = status(settings)["memory_items"]
    assert n == len(Memory.load(lived, CONFIG).bank(date.max).items) > 0
    path = lived.path(BANKS, str(date.max)) / "current.json"
    write_atomically(path, path.read_text("utf-8").replace(f'"active": {n}', '"active": 77'))
    assert status(settings)["memory_items"] == 77


def test_nothing_is_kept_while_a_removal_is_under_way(lived):
    write_atomically(active_path(lived), '{"number": 1}')
    assert bank_as_of(lived, CONFIG, DAYS[-1]) == Memory.load(lived, CONFIG).bank(DAYS[-1])
    assert lived.header(BANKS, str(DAYS[-1])) is None


def test_a_warehouse_without_memory_has_empty_banks(warehouse):
    bank = bank_as_of(warehouse, CONFIG, DAYS[0])
    assert (bank.items, bank.others, bank.n_deltas) == ((), (), 0)
    assert bank_as_of(warehouse, CONFIG, DAYS[0]) == bank


def test_a_bank_of_another_embedders_vectors_is_refused(lived):
    with pytest.raises(LineageError, match=r"was embedded by hashing@.*expected minilm@"):
        bank_as_of(lived, CONFIG.model_copy(update={"embedder": "minilm"}), DAYS[0])


@pytest.mark.slow
def test_processes_that_ask_for_one_day_at_once_all_get_its_bank(lived):
    code = (
        "import sys; from pathlib import Path; from datetime import date\n"
        "from synde_pipeline.memory.banks import bank_as_of\n"
        "from synde_pipeline.settings import MemoryConfig\n"
        "from synde_pipeline.storage import Warehouse\n"
        "config = MemoryConfig(embedder='hashing')\n"
        "print(bank_as_of(Warehouse(Path(sys.argv[1])), config, date.fromisoformat(sys.argv[2])).bank_hash)\n"
    )
    words = [sys.executable, "-c", code, str(lived.root), str(DAYS[-1] + timedelta(3))]
    asking = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate(timeout=120)[0].strip() for process in asking}
    assert answers == {Memory.load(lived, CONFIG).bank(DAYS[-1]).bank_hash}
