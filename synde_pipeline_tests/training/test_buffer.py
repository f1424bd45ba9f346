"""Cycles: frozen once, claiming each trajectory once, replayable from their manifests."""

from datetime import timedelta

from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, Settings
from synde_pipeline.training.buffer import freeze_cycles, read_buffer
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline.training.daily import publish_examples
from synde_pipeline.training.shards import build_shard
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN
from synde_pipeline_tests.models_for_tests import tokenizer

SETTINGS = Settings()
CONFIG = BufferConfig(threshold=6)


def arrive(warehouse, day, uids, domain="library", calls=GOOD, name="test"):
    items = [trajectory(uid, domain=domain, task=TRAIN[k], day=day, steps=called(*calls)) for k, uid in enumerate(uids)]
    land(warehouse, items, name=name)
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day)
    publish_examples(warehouse, day, SETTINGS)


def uids(warehouse, key):
    return {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, key)}


def test_a_domain_freezes_a_cycle_when_its_unclaimed_examples_reach_the_threshold(warehouse):
    arrive(warehouse, DAY, ["test:a"])
    assert freeze_cycles(warehouse, CONFIG)[0] == []
    arrive(warehouse, DAY + timedelta(1), ["test:b"])
    frozen, _ = freeze_cycles(warehouse, CONFIG)
    assert [cycle.key for cycle in frozen] == ["library-0001"]
    assert uids(warehouse, "library-0001") == {"test:a", "test:b"}
    assert frozen[0].last_day == DAY + timedelta(1)
    assert freeze_cycles(warehouse, CONFIG)[0] == []


def test_logs_that_arrive_late_for_a_claimed_day_go_into_the_next_cycle(warehouse):
    arrive(warehouse, DAY, ["test:a", "test:b"])
    first = freeze_cycles(warehouse, CONFIG)[0][0]
    frozen_bytes = warehouse.table_path("cycles", first.key).read_bytes()
    arrive(warehouse, DAY, ["test:c", "test:d"], name="late")
    (second,) = freeze_cycles(warehouse, CONFIG)[0]
    assert (second.key, second.number, second.sequence) == ("library-0002", 2, 2)
    assert uids(warehouse, second.key) == {"test:c", "test:d"}
    assert warehouse.table_path("cycles", first.key).read_bytes() == frozen_bytes


def test_a_claimed_trajectory_that_changes_is_reported_and_not_trained_again(warehouse):
    arrive(warehouse, DAY, ["test:a", "test:b"])
    freeze_cycles(warehouse, CONFIG)
    assert read_buffer(warehouse).n_changed == 0
    (warehouse.path("landing", str(DAY)) / "test.jsonl").unlink()
    arrive(warehouse, DAY, ["test:a", "test:b"], calls=(*GOOD, ("say", {}, "bye", True)))
    buffer = read_buffer(warehouse)
    assert buffer.n_changed == 2
    assert buffer.unclaimed == {}


def test_a_trajectory_that_landed_again_on_an_earlier_day_is_never_claimed_twice(warehouse):
    arrive(warehouse, DAY, ["test:a", "test:b"])
    arrive(warehouse, DAY - timedelta(1), ["test:a"], name="earlier")  # DAY is stale now, as a single-day run leaves it
    buffer = read_buffer(warehouse)
    assert buffer.n_stale_days == 1
    days = [row["metadata"]["day"] for row in buffer.unclaimed["library"]]
    assert set(days) == {str(DAY - timedelta(1))}


def test_domains_have_their_own_cycles_in_one_recorded_order(warehouse):
    for domain in ("library", "archive"):
        arrive(warehouse, DAY, [f"{domain}:{k}" for k in range(3)], domain=domain, name=domain)
    frozen, _ = freeze_cycles(warehouse, CONFIG)
    assert [cycle.key for cycle in frozen] == ["archive-0001", "library-0001"]
    assert [cycle.sequence for cycle in cycles(warehouse)] == [1, 2]


def test_a_shard_holds_the_claims_and_replay_with_weights_on_targets_only(warehouse):
    arrive(warehouse, DAY, [f"test:{k}" for k in range(8)])
    freeze_cycles(warehouse, CONFIG)
    arrive(warehouse, DAY + timedelta(1), [f"test:1{k}" for k in range(8)], calls=(*BAD, ("pay", {}, "ok", True)))
    (second,) = freeze_cycles(warehouse, CONFIG)[0]
    encoder = PromptEncoder(tokenizer(), SETTINGS.prompt)
    shard = build_shard(warehouse, second, Memory.load(warehouse, SETTINGS.memory), encoder, SETTINGS)
    assert {row["trace_uid"] for row in shard.rows if not row["is_replay"]} == uids(warehouse, second.key)
    assert len(shard.replayed) == 8  # 60 % would be 12, and there are no more
    row = shard.rows[0]
    assert len(row["input_ids"]) == len(row["weights"]) == len(row["avoid"])
    learned = [token for token, weight in zip(row["input_ids"], row["weights"], strict=True) if weight]
    assert tokenizer().decode(learned) == 'find<|args|>{"c":"1"}<|end|>pay<|args|>{}<|end|>'
