"""Whom training listens to: who was shut out, or is not trusted, enters no new cycle, and no frozen one changes."""

import shutil
from datetime import UTC, datetime, time, timedelta

import dagster as dg
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.defs.partitions import daily
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.training import training_buffer, training_examples
from synde_pipeline.memory.edits import EDITS, quarantining, restoring, signed
from synde_pipeline.models.overrule import carry_out, promotion
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import Delta
from synde_pipeline.removal.plan import promoted_with
from synde_pipeline.removal.remove import remove
from synde_pipeline.removal.request import Request
from synde_pipeline.settings import PRESETS, BufferConfig, MemoryConfig, Settings
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline.training.arrivals import arrivals
from synde_pipeline.training.buffer import EVERY, Standing, freeze_cycles, read_buffer
from synde_pipeline.training.cycles import LeftOut, claimed_examples, find_cycle
from synde_pipeline.training.known import known_to, memory_at, trajectories_at
from synde_pipeline.training.shards import build_shard
from synde_pipeline.training.trust import EVERYBODY, Trust
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, REPORT, TRAIN
from synde_pipeline_tests.models_for_tests import pin_tiny, tokenizer
from synde_pipeline_tests.removal.history import Step, live, materialise, run, settings_of, state_of
from synde_pipeline_tests.test_cli_memory import called_json

MEMORY = MemoryConfig(embedder="hashing", min_tasks=1)
SETTINGS = Settings(memory=MEMORY)
ONE = BufferConfig(threshold=1)
EVIL = {"evil": LeftOut("its source evil is quarantined", 1)}


def arrive(warehouse: Warehouse, k: int, *uids: str, tasks=TRAIN) -> None:
    """Runs of a day, one of a task; their sources stand before the colon."""
    day = DAY + timedelta(k)
    logs = [trajectory(uid, task=tasks[n], day=day, steps=called(*GOOD)) for n, uid in enumerate(uids)]
    land(warehouse, logs, name="-".join(uids).replace(":", "_"))
    materialise(warehouse, day, SETTINGS)


def say(warehouse: Warehouse, edit: Delta, n: int = 0) -> str:
    """A person's edit, made at the n-th minute of a late day, in no process's way."""
    made = signed(edit, datetime.combine(DAY + timedelta(60), time(12, n), UTC))
    path = warehouse.path(EDITS, str(made.day)) / f"{made.trace_uid.removeprefix('human:')}.json"
    write_atomically(path, made.model_dump_json())
    return made.trace_uid


def claimed(warehouse: Warehouse, key: str) -> set[str]:
    return {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, key)}


def waiting(buffer) -> set[str]:
    return {row["metadata"]["trajectory_id"] for rows in buffer.unclaimed.values() for row in rows}


def test_a_quarantined_source_enters_no_new_cycle_and_waits_until_it_is_let_in_again(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b")
    say(warehouse, quarantining("evil"))
    buffer = read_buffer(warehouse)
    assert (waiting(buffer), buffer.left_out, buffer.n_left_out) == ({"test:a"}, {"library": EVIL}, 1)
    (first,) = freeze_cycles(warehouse, ONE)[0]
    assert (claimed(warehouse, first.key), first.left_out) == ({"test:a"}, EVIL)
    header = warehouse.header("cycles", first.key)
    assert header is not None
    assert header.counts["left_out_trajectories"] == 1
    assert header.info["left_out"] == {"evil": ["its source evil is quarantined", 1]}
    assert freeze_cycles(warehouse, ONE, forced=[EVERY])[0] == []
    say(warehouse, restoring("source:evil"), 1)
    (second,) = freeze_cycles(warehouse, ONE)[0]
    assert (claimed(warehouse, second.key), second.left_out) == ({"evil:b"}, {})


def test_a_source_that_the_settings_do_not_trust_enters_no_cycle(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b", "other:c")
    trust = Trust.now(warehouse, MEMORY.model_copy(update={"trust": {"*": 0.2, "test": 0.5}}))
    (cycle,) = freeze_cycles(warehouse, ONE, trust=trust)[0]
    assert claimed(warehouse, cycle.key) == {"test:a"}
    assert cycle.left_out["other"] == LeftOut("its source other is trusted 0.2, less than 0.5", 1)
    assert arrivals(warehouse)[-1].trust == trust
    known = known_to(warehouse, cycle.key)
    assert [item.trace_uid for item in trajectories_at(warehouse, known)] == ["test:a"]


def test_a_quarantine_changes_no_frozen_cycle_and_by_itself_writes_nothing(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b")
    (first,) = freeze_cycles(warehouse, ONE)[0]
    files = {path: path.read_bytes() for path in warehouse.root.rglob("*.parquet")}
    say(warehouse, quarantining("evil"))
    assert freeze_cycles(warehouse, ONE)[0] == []
    assert {path: path.read_bytes() for path in warehouse.root.rglob("*.parquet")} == files
    assert find_cycle(warehouse, first.key) == first
    encoder = PromptEncoder(tokenizer(), SETTINGS.prompt)
    shard = build_shard(
        warehouse, first, memory_at(warehouse, MEMORY, known_to(warehouse, first.key)), encoder, SETTINGS
    )
    assert {row["trace_uid"] for row in shard.rows} == {"test:a", "evil:b"}


def test_replay_draws_nothing_of_a_source_that_its_cycle_does_not_listen_to(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b")
    freeze_cycles(warehouse, ONE)
    arrive(warehouse, 1, "test:c")
    (before,) = freeze_cycles(warehouse, ONE)[0]
    say(warehouse, quarantining("evil"))
    arrive(warehouse, 2, "test:d")
    (after,) = freeze_cycles(warehouse, ONE)[0]
    assert after.left_out == {"evil": LeftOut("its source evil is quarantined", 0)}
    for training in (PRESETS["world"], PRESETS["world"].model_copy(update={"composition": "joint"})):
        config = SETTINGS.model_copy(update={"training": training.model_copy(update={"objective": "imitation"})})
        encoder, drawn = PromptEncoder(tokenizer(), config.prompt), []
        for cycle in (before, after):
            memory = memory_at(warehouse, MEMORY, known_to(warehouse, cycle.key))
            drawn.append(build_shard(warehouse, cycle, memory, encoder, config).replayed)
        assert drawn == [["evil:b", "test:a"], ["test:a", "test:c"]]


def test_memory_shown_in_training_holds_nothing_of_a_source_shut_out_by_then_however_old_its_logs_are(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b", "evil:c")
    (first,) = freeze_cycles(warehouse, ONE)[0]
    say(warehouse, quarantining("evil"))
    arrive(warehouse, 1, "test:d")
    (second,) = freeze_cycles(warehouse, ONE)[0]

    def behind(cycle) -> set[str]:
        bank = memory_at(warehouse, MEMORY, known_to(warehouse, cycle.key)).bank(cycle.last_day)
        return {support.trace_uid for item in (*bank.items, *bank.others) for support in item.supports}

    assert {"evil:b", "evil:c"} < behind(first)
    assert behind(second) == {"test:a", "test:d"}


def test_a_cycle_that_a_kill_left_without_its_manifest_listens_to_whom_its_record_did(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b")
    say(warehouse, quarantining("evil"))
    (cycle,) = freeze_cycles(warehouse, ONE)[0]
    shutil.rmtree(warehouse.path("cycles", cycle.key))
    say(warehouse, restoring("source:evil"), 1)
    frozen, _ = freeze_cycles(warehouse, ONE)
    assert frozen[0] == cycle
    assert [claimed(warehouse, one.key) for one in frozen] == [{"test:a"}, {"evil:b"}]


def test_what_a_rejected_cycle_gives_back_is_left_out_too(warehouse):
    arrive(warehouse, 0, "test:a", "evil:b")
    (first,) = freeze_cycles(warehouse, ONE)[0]
    say(warehouse, quarantining("evil"))
    arrive(warehouse, 1, "test:c")
    (second,) = freeze_cycles(warehouse, ONE, standing=Standing(frozenset([first.key])))[0]
    assert claimed(warehouse, second.key) == {"test:a", "test:c"}


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.sampled_from(["test", "evil", "other"]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["shut", "open"]), st.sampled_from(["evil", "other"]), st.just(0)),
        st.tuples(st.just("freeze"), st.just(""), st.integers(1, 6)),
    ),
    max_size=9,
)


@given(ACTS)
@settings(max_examples=12)
def test_every_run_is_claimed_once_waits_or_is_left_out_and_no_claim_is_of_a_source_shut_out(warehouse, acts):
    shutil.rmtree(warehouse.root, ignore_errors=True)
    landed: set[str] = set()
    shut: set[str] = set()
    taken: list[str] = []
    for n, (act, source, number) in enumerate(acts):
        if act == "log":
            landed.add(f"{source}:{n}")
            arrive(warehouse, number, f"{source}:{n}")
        elif act in ("shut", "open"):
            say(warehouse, quarantining(source) if act == "shut" else restoring(f"source:{source}"), n)
            (shut.add if act == "shut" else shut.discard)(source)
        for cycle in freeze_cycles(warehouse, BufferConfig(threshold=number))[0] if act == "freeze" else ():
            new = claimed(warehouse, cycle.key)
            assert {uid.split(":")[0] for uid in new}.isdisjoint(shut)
            assert set(cycle.left_out) == shut & {uid.split(":")[0] for uid in landed}
            taken += new
    buffer = read_buffer(warehouse)
    assert len(taken) == len(set(taken))
    assert waiting(buffer) == {uid for uid in landed - set(taken) if uid.split(":")[0] not in shut}
    assert buffer.n_left_out == len(landed - set(taken) - waiting(buffer))


# -- law 8 ----------------------------------------------------------------------------------------------------------


def lived(
    home, config: Settings, *, has_evil: bool = True, has_edit: bool = True, is_trained: bool = False
) -> Warehouse:
    """A history: a good and an evil source, a quarantine between two arrivals."""
    warehouse = Warehouse(home / "warehouse")
    pin_tiny(warehouse)
    bad = [run(f"b{k}", k, task=k + 4).model_copy(update={"trace_uid": f"evil:b{k}"}) for k in range(2)]
    reports = [run(f"r{k}", 0, task=k, tasks=REPORT) for k in range(2)]
    live(warehouse, config, [Step([run("a", 0), *reports, *bad[:has_evil]], is_trained)])
    if has_edit:
        say(warehouse, quarantining("evil"))
    live(warehouse, config, [Step([run("c", 1, task=1), *(bad[1:] if has_evil else [])], is_trained)])
    return warehouse


def check_equal(tmp_path, request: Request, *, is_trained: bool = False, **other: bool) -> None:
    config = settings_of("routed", tmp_path, views=1, tip_dropout=0.0)
    config = config.model_copy(update={"buffer": ONE})
    warehouse = lived(tmp_path / "with", config, is_trained=is_trained)
    expected = lived(tmp_path / "without", config, is_trained=is_trained, **other)
    assert state_of(warehouse) != state_of(expected)
    remove(warehouse, config, request)
    assert state_of(warehouse) == state_of(expected)
    assert [record.trust for record in arrivals(warehouse)] == [record.trust for record in arrivals(expected)]


def test_removing_what_was_left_out_is_a_history_without_it_and_the_quarantine_stays_known(tmp_path):
    check_equal(tmp_path, Request(source="evil"), has_evil=False)


def test_removing_the_edit_is_a_history_in_which_nobody_was_shut_out(tmp_path):
    made = signed(quarantining("evil"), datetime.combine(DAY + timedelta(60), time(12), UTC))
    check_equal(tmp_path, Request(trace=made.trace_uid), has_edit=False)


def test_shutting_out_a_source_names_the_promoted_cycles_that_hold_it_and_the_remedy(tmp_path):
    config = settings_of("routed", tmp_path, views=1, tip_dropout=0.0)
    warehouse = lived(tmp_path, config.model_copy(update={"buffer": ONE}), has_edit=False, is_trained=True)
    carry_out(warehouse, promotion(warehouse, "library-0001"), "")
    assert promoted_with(warehouse, "nobody") == {}
    said = called_json("quarantine", "source", "evil", home=tmp_path)
    assert said["promoted"].keys() == {"library-0001"}
    assert said["promoted"]["library-0001"][0] == "claimed"
    assert said["remedy"] == "synde remove --source evil --dry-run"
    assert read_buffer(warehouse).left_out == {"library": {"evil": LeftOut("its source evil is quarantined", 0)}}


def test_a_rule_reads_back_as_it_was_written_and_trusting_everybody_writes_nothing():
    assert EVERYBODY.for_json() == {}
    assert Trust.recorded({}) == EVERYBODY
    edits = (("human:1", "source:evil", "quarantine"), ("human:2", "source:evil", "restore"))
    trust = Trust.recorded({"edits": edits, "trust": {"other": 0.1}, "min_trust": 0.3})
    assert Trust.recorded(trust.for_json()) == trust
    assert [trust.why_not(uid) for uid in ("evil:1", "test:1", "human:1")] == ["", "", ""]
    assert "0.1" in trust.why_not("other:1")
    assert "quarantined" in trust.without({"human:2"}).why_not("evil:1")


# -- Dagster --------------------------------------------------------------------------------------------------------


def test_the_buffer_asset_tells_what_it_leaves_out(warehouse):
    config = SETTINGS.model_copy(update={"home": warehouse.root.parent, "buffer": ONE})
    arrive(warehouse, 0, "test:a", "evil:b", "evil:c")
    say(warehouse, quarantining("evil"))
    synde = Synde(overrides=config.model_dump(mode="json"))
    result = dg.materialize([training_buffer], resources={"synde": synde})
    (made,) = result.asset_materializations_for_node("training_buffer")
    assert (made.metadata["left_out"].value, made.metadata["frozen"].value) == (2, 1)
    assert made.metadata["cycles"].value == ["library-0001"]
    assert claimed(warehouse, "library-0001") == {"test:a"}
    assert training_examples.partitions_def == daily
