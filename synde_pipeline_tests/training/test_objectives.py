"""What each objective puts into a shard: memory shown, teachers, trajectories written from memory; and its lineage."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError
from synde_pipeline.logs.daily import load_all, publish_raw_logs
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import MemoryItem, Support
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, MemoryConfig, PromptConfig, Settings, TrainingConfig
from synde_pipeline.settings_slow import Objective
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import publish_examples, publish_shard
from synde_pipeline.training.examples import ExampleTurn
from synde_pipeline.training.from_memory import LESSONS, items_at
from synde_pipeline.training.shards import MOST_TAUGHT, build_shard, rows_rule, token_weights
from synde_pipeline.training.teacher import lesson
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN, all_deltas
from synde_pipeline_tests.models_for_tests import pin_tiny, tokenizer
from synde_pipeline_tests.training.test_buffer import arrive

MEMORY = MemoryConfig(embedder="hashing", min_tasks=1)
PLACE = "site:library"


def at_place(uid, task, calls, day, outcome="success"):
    return trajectory(uid, task=task, day=day, outcome=outcome, scope=PLACE, steps=called(*calls))


@pytest.fixture
def packed(warehouse):
    """A shard of six runs that failed and were mended, packed by any settings, with what an earlier day taught."""
    arrive(warehouse, DAY, [f"test:{k}" for k in range(6)], calls=(*BAD, ("renew", {"l": "2"}, "done", True)))
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    day = DAY - timedelta(1)
    earlier = [
        trajectory(f"old:{k}", task=TRAIN[10 + k], day=day, outcome=outcome, steps=called(*calls))
        for k, (outcome, calls) in enumerate([("success", GOOD), ("failure", BAD)] * 2)
    ]
    deltas = all_deltas(earlier)

    def pack(top_k=2, **training):
        memory = Memory.of(deltas, MEMORY.model_copy(update={"top_k": top_k}))
        settings = Settings(memory=memory.config, training=TrainingConfig(**training))
        return build_shard(warehouse, cycle, memory, PromptEncoder(tokenizer(), settings.prompt), settings)

    return pack


def test_imitation_shows_no_memory_and_reads_none(packed):
    shard = packed(objective="imitation", views=3, tip_dropout=0.0)
    assert [row["n_memory_items"] for row in shard.rows] == [0] * 6
    assert shard.items == []
    assert packed(objective="tip_dropout", tip_dropout=0.0).items != []


def test_only_distillation_has_teachers(packed):
    for objective in ("imitation", "tip_dropout", "from_memory"):
        for row in packed(objective=objective).rows:
            assert (row["teacher_ids"], row["teacher_at"], row["n_untaught_steps"]) == ([], [], 0)


def imitated(row):
    return [k for k, w in enumerate(row["weights"]) if w > 0 and not row["avoid"][k]]


@pytest.mark.parametrize("views", [1, 3])
def test_a_teacher_reads_all_of_the_memory_and_stands_at_the_students_tokens(packed, views):
    full = {row["trace_uid"]: row for row in packed(tip_dropout=0.0, top_k=MOST_TAUGHT).rows}
    shard = packed(objective="context_distillation", views=views, top_k=1)
    assert len(shard.rows) == 6 * views
    for row in shard.rows:
        whole = full[row["trace_uid"]]
        assert row["teacher_ids"] == whole["input_ids"]
        assert row["n_memory_items"] <= 1 < whole["n_memory_items"]
        assert [row["input_ids"][k] for k in imitated(row)] == [row["teacher_ids"][k] for k in row["teacher_at"]]
        # The very targets, not just equal tokens.
        assert row["teacher_at"] == imitated(whole)
        assert row["memory_trajectories"] == whole["memory_trajectories"]
    assert {row["n_memory_items"] == 0 for row in shard.rows} == {True, False}


def test_without_memory_there_is_nothing_to_distil(warehouse):
    arrive(warehouse, DAY, ["test:a"])
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    settings = Settings(memory=MEMORY, training=TrainingConfig(objective="context_distillation"))
    encoder = PromptEncoder(tokenizer(), settings.prompt)
    (row,) = build_shard(warehouse, cycle, Memory.of([], MEMORY), encoder, settings).rows
    assert (row["teacher_ids"], row["teacher_at"]) == ([], [])
    assert imitated(row)


ITEMS = [
    MemoryItem(
        item_id=f"{k:016}",
        domain="library",
        kind="strategy",
        scope="",
        title=f"lesson {k} " + "about renewing loans " * 3,
        description="",
        content="renew them in time",
        supports=(Support(task_id="test:library:t1", trace_uid="test:1", outcome="success"),),
    )
    for k in range(4)
]
turns = st.lists(
    st.builds(
        ExampleTurn,
        index=st.just(0),
        state=st.integers(0, 40).map("a b".__mul__),
        reasoning=st.text("cd ", max_size=9),
        tool=st.sampled_from(["find", "renew"]),
        arguments=st.integers(0, 20).map("e f".__mul__),
        signal=st.sampled_from(["imitate", "imitate", "avoid", "context"]),
        weight=st.just(1.0),
    ),
    min_size=1,
    max_size=9,
)


@given(turns, st.integers(0, 3), st.integers(1, 4))
def test_windows_that_are_cut_elsewhere_are_aligned_by_steps_and_what_is_lost_is_counted(drawn, n_shown, n_full):
    found = [
        ExampleTurn(k, t.state, t.reasoning, t.tool, t.arguments, t.signal, 0.0 if t.signal == "context" else 1.0)
        for k, t in enumerate(drawn)
    ]
    encoder = PromptEncoder(tokenizer(), PromptConfig(window=256))
    teacher = encoder.windows("library", "renew", ITEMS[:n_full], found)
    for window in encoder.windows("library", "renew", ITEMS[:n_shown], found):
        weights, avoid = token_weights(window, found)
        taught = lesson(window, weights, avoid, teacher)
        before = {"weights": weights, "avoid": avoid}
        after = {"weights": taught.weights, "avoid": avoid}
        assert len(taught.at) == len(imitated(after))
        assert [window.ids[k] for k in imitated(after)] == [taught.ids[k] for k in taught.at]
        assert taught.at == sorted(taught.at)
        lost = set(imitated(before)) - set(imitated(after))
        spans = [s for s in window.targets if lost & set(range(s.reasoning[0], s.action[1]))]
        assert taught.n_lost == len(spans)
        assert all(a == b for a, b, flag in zip(weights, taught.weights, avoid, strict=True) if flag)
        assert bool(taught.ids) == bool(imitated(before)) == bool(imitated(after))


# -- from memory ----------------------------------------------------------------------------------------------------

OPEN, SHUT = ("nav", "search", "open", True), ("nav", "browse", "empty", False)
PRICE = ("extract", ".price", "found 12.34", True)


@pytest.fixture
def lived(warehouse):
    """Two days at one place, the second one's runs claimed by no cycle yet."""
    settings = Settings(memory=MEMORY)

    def day(number, *runs):
        on = DAY + timedelta(number)
        land(warehouse, [at_place(uid, task, calls, on, outcome) for uid, task, calls, outcome in runs])
        publish_raw_logs(warehouse, on)
        publish_reflections(warehouse, on)
        publish_deltas(warehouse, on, settings.memory)
        publish_memory(warehouse, on)
        publish_examples(warehouse, on, settings)

    day(0, ("test:a", TRAIN[0], (OPEN, PRICE), "success"), ("test:b", TRAIN[1], (SHUT, OPEN), "failure"))
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    pin_tiny(warehouse)
    return warehouse, cycle, day


def shard_of(warehouse, cycle, **training):
    settings = Settings(memory=MEMORY, training=TrainingConfig(objective="from_memory", **training))
    memory = Memory.load(warehouse, settings.memory)
    return build_shard(warehouse, cycle, memory, PromptEncoder(tokenizer(), settings.prompt), settings)


def test_a_written_trajectory_does_what_works_at_its_place_and_says_where_it_comes_from(lived):
    warehouse, cycle, _ = lived
    (row,) = shard_of(warehouse, cycle, tip_dropout=1.0).rows
    text = tokenizer().decode(row["input_ids"])
    assert "library" in text
    taught = tokenizer().decode([row["input_ids"][k] for k in imitated(row)])
    assert taught == "extract<|args|>.price<|end|>nav<|args|>search<|end|>"
    assert row["memory_trajectories"] == ["test:a", "test:b"]
    assert row["trace_uid"].startswith("memory:")
    assert (row["n_memory_items"], row["is_replay"], row["scope"]) == (0, False, PLACE)
    (shown,) = shard_of(warehouse, cycle, tip_dropout=0.0).rows
    assert shown["n_memory_items"] == 2


def test_nothing_learned_after_the_cycles_last_day_is_written(lived):
    warehouse, cycle, day = lived
    before = shard_of(warehouse, cycle)
    day(1, ("test:c", TRAIN[2], (("login", "guest", "welcome", True), OPEN), "success"))
    after = shard_of(warehouse, cycle)
    assert after.rows == before.rows
    assert after.memory_hash == before.memory_hash


def test_pitfalls_are_avoided_and_other_kinds_say_no_action():
    def item(kind, title, content):
        return ITEMS[0].model_copy(update={"kind": kind, "title": title, "content": content, "scope": PLACE})

    told = [item("strategy", "nav", "search"), item("pitfall", "extract", "#cost"), item("workflow", "order", "a -> b")]
    (written,) = LESSONS("library", PLACE, told)
    assert [(turn.tool, turn.arguments, turn.signal) for turn in written.turns] == [
        ("extract", "#cost", "avoid"),
        ("nav", "search", "imitate"),
    ]
    assert LESSONS("library", PLACE, told[2:]) == []


def test_a_place_is_told_of_by_its_own_items_and_no_place_by_those_of_none():
    here = ITEMS[0].model_copy(update={"scope": PLACE})
    tool = ITEMS[1].model_copy(update={"scope": "tool:renew"})
    other = ITEMS[2].model_copy(update={"domain": "web"})

    class Bank:
        items = (here, tool, other)

    assert items_at(Bank, "library", PLACE) == [here]
    assert items_at(Bank, "library", "") == [tool]
    assert items_at(Bank, "web", "") == [other]


# -- lineage --------------------------------------------------------------------------------------------------------

CHANGES = [{"objective": "imitation"}, {"credit": "step"}, {"views": 2}, {"tip_dropout": 0.25}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_shard_packed_by_other_knobs_is_refused_and_another_rate_is_not(lived, change):
    warehouse, cycle, _ = lived
    plain = Settings(memory=MEMORY, training=TrainingConfig(max_steps=1))
    header = publish_shard(warehouse, cycle, plain)
    changed = plain.training.model_copy(update=change)
    with pytest.raises(LineageError, match="rows"):
        train_cycle(warehouse, cycle, changed)
    publish_shard(warehouse, cycle, plain.model_copy(update={"training": changed}))
    assert train_cycle(warehouse, cycle, changed)[1]
    assert rows_rule(plain.training.model_copy(update={"learning_rate": 0.1})) == header.inputs["rows"]


@pytest.mark.parametrize("composition", ["routed", "sequential"])
@pytest.mark.parametrize("objective", get_args(Objective))
def test_every_objective_goes_from_claims_to_a_model(lived, objective, composition):
    warehouse, cycle, _ = lived
    training = TrainingConfig(objective=objective, composition=composition, max_steps=2, views=2)
    publish_shard(warehouse, cycle, Settings(memory=MEMORY, training=training))
    header, is_new = train_cycle(warehouse, cycle, training)
    assert is_new
    assert header.counts["target_tokens"] > 0
    logged = {item.trace_uid for item in load_all(warehouse)}
    assert logged.issuperset(header.info["trajectories"] + header.info["replayed"] + header.info["memory_of"])
    assert header.info["trajectories"] or header.info["memory_of"]
    assert merge_cycle(warehouse, cycle).counts["adapters"] == 1
    assert not train_cycle(warehouse, cycle, training)[1]


def test_the_memory_that_was_read_and_the_scribe_are_in_the_lineage(lived):
    warehouse, cycle, _ = lived

    def inputs(objective):
        settings = Settings(memory=MEMORY, training=TrainingConfig(objective=objective))
        return publish_shard(warehouse, cycle, settings).inputs

    written, imitation = inputs("from_memory"), inputs("imitation")
    assert written["scribe"] == "lessons"
    assert "scribe" not in imitation
    assert written["memory"] != imitation["memory"]
