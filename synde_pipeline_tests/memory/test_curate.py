"""The fold is a pure function of a set of deltas: order, repeats and later days change nothing (laws 1 and 2)."""

from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY, called, trajectories, trajectory

CONFIG = MemoryConfig(embedder="hashing")
EMBED = HashingEmbedder().embed
TRAIN = [f"t{k}" for k in range(200) if split_of(f"test:library:t{k}") == "train"]
REPORT = [f"t{k}" for k in range(200) if split_of(f"test:library:t{k}") == "report"]

GOOD = (("find", {"c": "1"}, "m1", True), ("loan", {"l": "1"}, "ok", True), ("renew", {"l": "1"}, "done", True))
BAD = (("find", {"c": "1"}, "m1", True), ("renew", {"l": "1"}, "Error: fine is due", False))


def run(k: int, outcome: str, calls, *, day: date = DAY, text: str = "please renew"):
    item = trajectory(f"test:{k}-{outcome}", task=TRAIN[k], outcome=outcome, steps=called(*calls), day=day)
    return item.model_copy(update={"task": text})


def all_deltas(items):
    return [delta for item in items for delta in deltas_of(reflect(item), item.day)]


@given(st.lists(trajectories(days=st.integers(0, 3).map(lambda d: DAY + timedelta(d))), max_size=12), st.randoms())
def test_any_order_and_any_repeats_of_deltas_give_the_same_bank(items, random):
    deltas = all_deltas(items)
    shuffled = deltas * 2
    random.shuffle(shuffled)
    as_of = DAY + timedelta(2)
    assert fold(shuffled, as_of, CONFIG, EMBED).bank_hash == fold(deltas, as_of, CONFIG, EMBED).bank_hash


@given(st.lists(trajectories(days=st.integers(0, 3).map(lambda d: DAY + timedelta(d))), max_size=12))
def test_a_bank_sees_nothing_with_a_later_effective_day(items):
    as_of = DAY + timedelta(1)
    deltas = all_deltas(items)
    known = [delta for delta in deltas if delta.effective_day <= as_of]
    assert fold(deltas, as_of, CONFIG, EMBED) == fold(known, as_of, CONFIG, EMBED)


@given(st.lists(trajectories(), max_size=12))
def test_leaving_a_task_out_equals_a_history_without_it(items):
    deltas = all_deltas(items)
    for task in {delta.task_id for delta in deltas}:
        without = [delta for delta in deltas if delta.task_id != task]
        left_out = fold(deltas, DAY, CONFIG, EMBED, without_task=task)
        assert left_out.bank_hash == fold(without, DAY, CONFIG, EMBED).bank_hash
        assert all(task not in item.task_ids for item in left_out.items)


def test_a_lesson_of_one_task_alone_is_not_shown():
    deltas = all_deltas([run(0, "failure", (*BAD, *BAD[1:]))])
    assert fold(deltas, DAY, CONFIG, EMBED).items == ()
    assert fold(deltas, DAY, MemoryConfig(min_tasks=1), EMBED).items != ()


def test_trials_of_one_task_do_not_count_as_several_tasks():
    trials = [trajectory(f"test:{k}", task=TRAIN[0], steps=called(*GOOD)) for k in range(5)]
    assert fold(all_deltas(trials), DAY, CONFIG, EMBED).items == ()


def test_a_run_that_two_days_hold_speaks_once_from_its_first_day():
    first = all_deltas([run(k, "success", GOOD) for k in range(3)])
    stale = all_deltas([run(k, "failure", BAD, day=DAY + timedelta(1)) for k in range(3)])
    again = [delta.model_copy(update={"trace_uid": delta.trace_uid.replace("failure", "success")}) for delta in stale]
    later = DAY + timedelta(1)
    assert fold([*again, *first], later, CONFIG, EMBED) == fold(first, later, CONFIG, EMBED)


def test_only_train_tasks_leave_deltas():
    held_out = trajectory(task=REPORT[0], steps=called(*GOOD))
    assert deltas_of(reflect(held_out), DAY) == []


def test_an_item_keeps_its_id_while_its_evidence_grows():
    few = fold(all_deltas([run(k, "success", GOOD) for k in range(2)]), DAY, CONFIG, EMBED)
    more = fold(all_deltas([run(k, "success", GOOD) for k in range(5)]), DAY, CONFIG, EMBED)
    assert few.items[0].item_id == more.items[0].item_id
    assert few.bank_hash != more.bank_hash


def test_hashed_vectors_have_unit_length():
    vectors = HashingEmbedder().embed(["renew my loan", "pay a fine"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
