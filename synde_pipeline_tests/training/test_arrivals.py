"""When cycles start, what comes back from rejected ones, and the journal of what arrived when."""

import shutil
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.logs.daily import load_raw_logs, publish_raw_logs
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.editor import apply_edits
from synde_pipeline.memory.edits import quarantining
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import split_of
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import PRESETS, BufferConfig, MemoryConfig, Settings
from synde_pipeline.training.arrivals import Known, arrivals
from synde_pipeline.training.buffer import EVERY, Standing, freeze_cycles, read_buffer
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline.training.daily import publish_examples
from synde_pipeline.training.groups import groups_of
from synde_pipeline.training.known import known_to, memory_at, trajectories_at
from synde_pipeline.training.shards import build_shard
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, REPORT, TRAIN
from synde_pipeline_tests.models_for_tests import tokenizer

SETTINGS = Settings(memory=MemoryConfig(embedder="hashing", min_tasks=1))
ARCHIVE = next(f"t{k}" for k in range(100) if split_of(f"test:archive:t{k}") == "train")
LONG = (*GOOD, ("say", {}, "bye", True))


def materialise(warehouse, day, *, memory=False):
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day)
    if memory:
        publish_deltas(warehouse, day, SETTINGS.memory)
        publish_memory(warehouse, day)
    publish_examples(warehouse, day, SETTINGS)


def arrive(warehouse, k, *uids, scope="", calls=GOOD, tasks=TRAIN, name=None, memory=False):
    day = DAY + timedelta(k)
    items = [
        trajectory(f"test:{uid}", task=tasks[n], day=day, scope=scope, steps=called(*calls))
        for n, uid in enumerate(uids)
    ]
    land(warehouse, items, name=name or f"{day}-{'-'.join(uids)}{scope}".replace(":", "-"))
    materialise(warehouse, day, memory=memory)


def uids(warehouse, key):
    return {row["metadata"]["trajectory_id"].split(":")[1] for row in claimed_examples(warehouse, key)}


def ids_of(ledger):
    """Ids of rows and edits, and what tags say."""
    tags = [str(row) for found in ledger.tags.values() for row in zip(*found.columns, strict=True)]
    edits = [edit.delta_id for found in ledger.edits.values() for edit in found]
    return sorted([*edits, *tags, *(row.delta_id for row in ledger.rows)])


def keys(frozen):
    return [cycle.key for cycle in frozen]


# -- when a cycle starts --------------------------------------------------------------------------------------------


def test_many_examples_of_too_few_runs_start_nothing(warehouse):
    config = BufferConfig(threshold=3, min_trajectories=2)
    arrive(warehouse, 0, "a")
    assert freeze_cycles(warehouse, config)[0] == []
    arrive(warehouse, 1, "b")
    assert keys(freeze_cycles(warehouse, config)[0]) == ["library-0001"]


@pytest.mark.parametrize(("newest", "is_frozen"), [(2, False), (3, True), (9, True)])
def test_what_waited_for_the_maximum_age_starts_a_cycle_by_the_days_of_the_logs(warehouse, newest, is_frozen):
    config = BufferConfig(threshold=99, max_age_days=3)
    arrive(warehouse, 0, "a")
    arrive(warehouse, 1, "b")
    assert freeze_cycles(warehouse, config)[0] == []
    other = {"domain": "archive", "task": ARCHIVE, "day": DAY + timedelta(newest), "steps": called(*GOOD)}
    land(warehouse, [trajectory("archive:x", **other)])
    materialise(warehouse, DAY + timedelta(newest))
    frozen, _ = freeze_cycles(warehouse, config)
    assert keys(frozen) == (["library-0001"] if is_frozen else [])
    assert freeze_cycles(warehouse, config)[0] == []


def test_a_person_can_start_what_waits_and_nothing_starts_where_nothing_waits(warehouse):
    config = BufferConfig(threshold=99)
    arrive(warehouse, 0, "a")
    assert freeze_cycles(warehouse, config, forced=["archive"])[0] == []
    assert keys(freeze_cycles(warehouse, config, forced=["library"])[0]) == ["library-0001"]
    assert freeze_cycles(warehouse, config, forced=[EVERY])[0] == []
    assert [record.forced for record in arrivals(warehouse)] == [("archive",), ("library",)]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3)), min_size=1, max_size=12), st.integers(1, 20))
@settings(max_examples=6)
def test_a_cycle_never_claims_half_of_a_scope_and_adapters_are_full_but_for_the_last(warehouse, runs, threshold):
    shutil.rmtree(warehouse.root, ignore_errors=True)
    for n, (scope, k) in enumerate(runs):
        arrive(warehouse, k, f"r{n}", scope=f"site:{scope}")
        waiting = read_buffer(warehouse).unclaimed.get("library", [])
        by_scope = {}
        for row in waiting:
            by_scope.setdefault(row["metadata"]["scope"], set()).add(row["metadata"]["trajectory_id"].split(":")[1])
        for cycle in freeze_cycles(warehouse, BufferConfig(threshold=threshold))[0]:
            assert uids(warehouse, cycle.key) == set().union(*by_scope.values())
            sizes = {}
            for number in groups_of(warehouse, cycle, 4).values():
                sizes[number] = sizes.get(number, 0) + 1
            assert [sizes[number] for number in sorted(sizes)[:-1]] == [4] * (len(sizes) - 1)


# -- what comes back ------------------------------------------------------------------------------------------------


def test_examples_of_a_rejected_cycle_come_back_twice_and_start_nothing_by_themselves(warehouse):
    config, rejected, found = BufferConfig(threshold=3), [], []
    for k in range(5):
        arrive(warehouse, k, f"r{k}")
        (cycle,) = freeze_cycles(warehouse, config, standing=Standing(frozenset(rejected)))[0]
        header = warehouse.header("cycles", cycle.key)
        found.append((sorted(uids(warehouse, cycle.key)), header.info["attempt"]))
        rejected.append(cycle.key)
        again, buffer = freeze_cycles(warehouse, config, standing=Standing(frozenset(rejected)))
        assert again == []
        assert set(buffer.returned) == {f"test:r{n}" for n in range(max(0, k - 1), k + 1)}
    assert found == [
        (["r0"], 1),
        (["r0", "r1"], 2),
        (["r0", "r1", "r2"], 3),
        (["r1", "r2", "r3"], 3),
        (["r2", "r3", "r4"], 3),
    ]


def test_what_came_back_is_new_in_its_next_cycle_and_not_replayed_beside_itself(warehouse):
    arrive(warehouse, 0, "a", "b")
    (first,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    arrive(warehouse, 1, "c")
    (second,) = freeze_cycles(warehouse, BufferConfig(threshold=1), standing=Standing(frozenset([first.key])))[0]
    for config in (SETTINGS, SETTINGS.model_copy(update={"training": PRESETS["world"]})):
        memory = Memory.of([], config.memory)
        shard = build_shard(warehouse, second, memory, PromptEncoder(tokenizer(), config.prompt), config)
        assert {row["trace_uid"] for row in shard.rows} == {"test:a", "test:b", "test:c"}
        assert not any(row["is_replay"] for row in shard.rows)


def test_a_returned_run_that_changed_is_trained_as_it_is_now_and_an_accepted_one_never_again(warehouse):
    arrive(warehouse, 0, "a", name="a")
    (first,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    arrive(warehouse, 0, "a", calls=LONG, name="a")
    assert read_buffer(warehouse).n_changed == 1
    assert read_buffer(warehouse).unclaimed == {}
    buffer = read_buffer(warehouse, {first.key})
    assert (buffer.n_changed, len(buffer.unclaimed["library"])) == (0, 4)


# -- the journal ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=6)
def test_the_journal_holds_each_change_once_and_looking_again_adds_nothing(warehouse, runs):
    shutil.rmtree(warehouse.root, ignore_errors=True)
    for n, (uid, k, is_long) in enumerate(runs):
        arrive(warehouse, k, f"r{uid}", calls=LONG if is_long else GOOD, name=f"f{n}")
        freeze_cycles(warehouse, BufferConfig(threshold=8))
        before = [path.read_bytes() for path in sorted((warehouse.root / "arrivals").rglob("*.parquet"))]
        freeze_cycles(warehouse, BufferConfig(threshold=8))
        assert [path.read_bytes() for path in sorted((warehouse.root / "arrivals").rglob("*.parquet"))] == before
    known = Known.by(arrivals(warehouse))
    for day, found in known.days.items():  # days that an earlier one made stale are as they were
        if day not in read_buffer(warehouse).stale_days:
            now = {t.trace_uid: t.content_hash for t in load_raw_logs(warehouse, DAY.fromisoformat(day))}
            assert found == now
    named = [key for record in arrivals(warehouse) for key in record.frozen]
    assert named == keys(cycles(warehouse))


def test_a_kill_between_the_record_and_the_manifests_loses_no_cycle_and_claims_nothing_twice(warehouse):
    arrive(warehouse, 0, "a", "b")
    freeze_cycles(warehouse, BufferConfig(threshold=6))
    path = warehouse.table_path("cycles", "library-0001")
    undisturbed = path.read_bytes()
    path.unlink()  # as a kill leaves it: the record is there, the manifest is not
    arrive(warehouse, 1, "c")  # came after the record: not this cycle's
    frozen, _ = freeze_cycles(warehouse, BufferConfig(threshold=6))
    assert keys(frozen) == ["library-0001"]
    assert path.read_bytes() == undisturbed
    assert [record.frozen for record in arrivals(warehouse)] == [("library-0001",), ()]


def test_verdicts_that_were_open_are_in_the_record(warehouse):
    arrive(warehouse, 0, "a")
    freeze_cycles(warehouse, BufferConfig(threshold=1))
    arrive(warehouse, 1, "b")
    freeze_cycles(warehouse, BufferConfig(threshold=1), standing=Standing(unfinished=frozenset(["library-0001"])))
    assert [dict(record.unfinished) for record in arrivals(warehouse)] == [{}, {"library": 1}]


def test_a_warehouse_without_a_journal_gets_one_from_its_manifests(warehouse):
    config = BufferConfig(threshold=3)
    for k, uid in enumerate("abc"):
        arrive(warehouse, k, uid)
        arrive(warehouse, k, f"{uid}-report", tasks=REPORT)
        freeze_cycles(warehouse, config)
    before = arrivals(warehouse)
    shutil.rmtree(warehouse.root / "arrivals")
    arrive(warehouse, 3, "d", calls=BAD[:1])
    freeze_cycles(warehouse, config)
    after = arrivals(warehouse)
    assert [record.is_reconstructed for record in after] == [True, True, True, False]
    assert [(record.days, record.frozen) for record in after[:3]] == [(record.days, record.frozen) for record in before]
    assert set(after[3].days) == {str(DAY + timedelta(3))}


# -- what a cycle may know ------------------------------------------------------------------------------------------


def test_a_cycle_sees_what_had_arrived_when_it_was_frozen_whatever_came_or_changed_since(warehouse):
    arrive(warehouse, 0, "a", "b", name="first", memory=True)
    arrive(warehouse, 1, "r", tasks=REPORT, memory=True)
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=6))[0]

    def seen():
        known = known_to(warehouse, cycle.key)
        memory = memory_at(warehouse, SETTINGS.memory, known)
        ids = ids_of(memory.ledger)
        return ids, [item.content_hash for item in trajectories_at(warehouse, known)]

    before = seen()
    assert len(before[1]) == 3
    arrive(warehouse, 0, "c", name="late", memory=True)
    arrive(warehouse, 1, "s", tasks=REPORT, memory=True)
    assert seen() == before
    later = trajectory("test:a", task=TRAIN[0], steps=called(*LONG), ended_at="2025-01-04T00:00:00")
    land(warehouse, [later], name="corrected")  # wins over the first content, which is kept as superseded
    materialise(warehouse, DAY, memory=True)
    assert seen() == before
    assert len(list(trajectories_at(warehouse, None))) == 5
    settings = SETTINGS.model_copy(update={"home": warehouse.root.parent})
    (edit,) = apply_edits(warehouse, settings, [quarantining("test")])
    assert sorted({*seen()[0]} - {*before[0]}) == [edit.delta_id], "people's edits never arrive"
