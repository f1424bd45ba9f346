"""Replaying arrivals, verdicts and vetoes; what a plan says; what stays away afterwards."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.errors import InputError, RemovalError
from synde_pipeline.evaluation.due import due_cycles, standing
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.logs.landing import landing_days
from synde_pipeline.logs.tombstones import REASON, active_path, refuse_while_removing, tombstones
from synde_pipeline.memory.store import read_columns
from synde_pipeline.models.overrule import carry_out, promotion, rollback
from synde_pipeline.models.registry import champion
from synde_pipeline.removal.inputs import Gone, affected_days, purge_landing, rewrite_days
from synde_pipeline.removal.plan import hashes
from synde_pipeline.removal.remove import _copy, plan_of, remove, resume
from synde_pipeline.removal.replay import Replay
from synde_pipeline.removal.request import Request
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.arrivals import arrivals
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline_tests.helpers import DAY, land
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.removal.history import (
    LONG,
    SCRIPT,
    Step,
    by_coin,
    live,
    materialise,
    run,
    settings_of,
    state_of,
    undecided,
    without,
)


@pytest.fixture
def config(tmp_path):
    return settings_of("routed", tmp_path)


def planned(home, config, script):
    """A history of arrivals, memory and frozen cycles alone; nothing is trained."""
    warehouse = Warehouse(home / "warehouse")
    live(warehouse, config, [Step(step.logs, is_trained=False) for step in script])
    return warehouse


def journal_of(warehouse):
    return [(r.number, r.days, r.frozen, r.forced, dict(r.unfinished), r.stale) for r in arrivals(warehouse)]


# -- any history, without training ----------------------------------------------------------------------------------

RUNS = st.lists(
    st.tuples(
        st.integers(0, 5).map("r{}".format),  # the same uid may land again: later, earlier, or with other steps
        st.integers(0, 2),
        st.sampled_from(["site:a", "site:b"]),
        st.sampled_from([GOOD, BAD, LONG]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@given(RUNS, st.integers(0, 7), st.integers(3, 9))
@settings(max_examples=30)
def test_any_arrivals_without_a_trajectory_give_the_memory_cycles_and_journal_that_removing_it_gives(
    tmp_path_factory, runs, which, threshold
):
    home = tmp_path_factory.mktemp("any")
    config = settings_of("routed", home)
    config = config.model_copy(update={"buffer": config.buffer.model_copy(update={"threshold": threshold})})
    script = [Step() for _ in range(3)]
    for uid, k, scope, calls, n in runs:
        script[n].logs.append(run(uid, k, scope=scope, calls=calls))
    uid = f"test:{runs[which % len(runs)][0]}"
    warehouse, other = planned(home / "with", config, script), planned(home / "without", config, without(script, uid))
    remove(warehouse, config, Request(trace=uid))
    assert state_of(warehouse) == state_of(other)
    assert journal_of(warehouse) == journal_of(other)
    deltas = [sorted(read_columns(w, "delta_id")["delta_id"].to_pylist()) for w in (warehouse, other)]
    assert deltas[0] == deltas[1]


# -- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("composition", ["routed", "sequential"])
@pytest.mark.parametrize("uid", ["test:a", "test:e"])
def test_verdicts_are_made_again_and_what_they_give_back_is_claimed_again(tmp_path, composition, uid):
    config = settings_of(composition, tmp_path)
    script = [*SCRIPT, *(Step([run(f"x{k}", k, task=k, scope="site:b"), run(f"y{k}", k)]) for k in range(4, 9))]
    histories = {}
    for name, steps in (("with", script), ("without", without(script, uid))):
        histories[name] = Warehouse(tmp_path / name / "warehouse")
        pin_tiny(histories[name])
        live(histories[name], config, steps, by_coin)
    warehouse, other = histories["with"], histories["without"]
    verdicts = [decision.accepted for decision in champion(warehouse).history]
    assert {True, False} <= set(verdicts)
    gone = Gone(frozenset([uid]))
    days = affected_days(warehouse, gone)
    purge_landing(warehouse, gone)
    copy = Warehouse(tmp_path / "copy")
    _copy(warehouse, copy)
    rewrite_days(copy, days, gone, config.memory)
    Replay(warehouse, copy, gone.uids, frozenset(), None, config, print, judge=by_coin).run()
    assert state_of(copy) == state_of(other)
    assert any(copy.header("cycles", cycle.key).info["attempt"] > 1 for cycle in cycles(copy))


@pytest.mark.slow
@pytest.mark.parametrize("composition", ["routed", "sequential"])
def test_adapters_that_a_person_took_out_leave_all_that_stood_on_them_and_their_logs_do_not_come_back(
    tmp_path, composition
):
    config = settings_of(composition, tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    pin_tiny(warehouse)
    live(warehouse, config, SCRIPT, undecided)
    before = hashes(warehouse)
    certificate = remove(warehouse, config, Request(adapter="library-0001"), judge=undecided)
    after = hashes(warehouse)
    assert all(before[name] == after[name] for name in before if name.startswith(("raw_logs", "cycles[", "arrivals[")))
    assert before["adapters[library-0001]"] == after["adapters[library-0001]"]
    if composition == "sequential":
        assert before["adapters[library-0002]"] != after["adapters[library-0002]"]
        assert certificate["trained_again"] == [cycle.key for cycle in cycles(warehouse)][1:]
    else:
        assert certificate["trained_again"] == []
    for cycle in cycles(warehouse)[1:]:
        held = {row["cycle"] for row in warehouse.header("merged_models", cycle.key).info["adapters"]}
        assert "library-0001" not in held
    assert standing(warehouse).rejected == frozenset()
    assert due_cycles(warehouse) == []
    with pytest.raises(InputError, match="taken out already"):
        remove(warehouse, config, Request(adapter="library-0001"))
    remove(warehouse, config, Request(trace="test:e"), judge=undecided)  # the veto outlives later removals
    assert tombstones(warehouse).cycles == {"library-0001"}
    held = {row["cycle"] for row in warehouse.header("merged_models", "library-0002").info["adapters"]}
    assert "library-0001" not in held


@pytest.mark.slow
def test_what_a_person_promoted_is_promoted_again_where_the_person_had_done_it(tmp_path):
    config = settings_of("routed", tmp_path)
    histories = {}
    for name, script in (("with", SCRIPT), ("without", without(SCRIPT, "test:e"))):
        warehouse = histories[name] = Warehouse(tmp_path / name / "warehouse")
        pin_tiny(warehouse)
        live(warehouse, config, script[:1], undecided)
        carry_out(warehouse, promotion(warehouse, "library-0001"), "looks good")
        live(warehouse, config, script[:2], undecided)
        live(warehouse, config, script, undecided)
        carry_out(warehouse, promotion(warehouse, "library-0002"), "")
        carry_out(warehouse, rollback(warehouse, "library"), "no")
    certificate = remove(histories["with"], config, Request(trace="test:e"), judge=undecided)
    assert certificate["decisions_lost"] == []
    assert [item.by for item in champion(histories["with"]).history] == ["person"] * 3
    assert state_of(histories["with"]) == state_of(histories["without"])


def test_a_warehouse_without_a_journal_is_replayed_as_its_manifests_tell(tmp_path, config):
    warehouse = planned(tmp_path / "with", config, SCRIPT)
    shutil.rmtree(warehouse.root / "arrivals")
    other = planned(tmp_path / "without", config, without(SCRIPT, "test:f"))
    remove(warehouse, config, Request(trace="test:f"))
    claims = [[claimed_examples(w, cycle.key) for cycle in cycles(w)] for w in (warehouse, other)]
    assert claims[0] == claims[1]
    assert all(record.is_reconstructed for record in arrivals(warehouse))


# -- what is meant, and the plan ------------------------------------------------------------------------------------


def test_a_day_and_a_source_go_as_a_whole(tmp_path, config):
    script = [Step([run("a", 0), run("b", 1), run("c", 1)]), Step([run("d", 2)])]
    for request, gone in ((Request(day="2025-01-04"), ["test:b", "test:c"]), (Request(source="test"), "abcd")):
        home = tmp_path / request.text.replace("/", "")
        warehouse = planned(home / "with", config, script)
        uids = [f"test:{uid}" if len(uid) == 1 else uid for uid in gone]
        other = planned(home / "without", config, without(script, *uids))
        remove(warehouse, config, request)
        assert state_of(warehouse) == state_of(other)


def test_a_plan_names_what_depends_on_a_trajectory_and_changes_nothing(tmp_path, config):
    warehouse = planned(tmp_path, config, SCRIPT)
    before = sorted((path, path.stat().st_mtime_ns) for path in warehouse.root.rglob("*"))
    plan = plan_of(warehouse, config, Request(trace="test:late"))
    assert plan["days"] == [str(DAY)]
    assert plan["landing_files"] == [f"landing/day={DAY}/step2.jsonl"]
    assert plan["from_arrival"] == 3
    (claiming,) = (key for key, found in plan["cycles"].items() if "claimed" in found)
    assert "test:late" in {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, claiming)}
    assert claiming in plan["evaluated_again"]
    json.dumps(plan)
    assert sorted((path, path.stat().st_mtime_ns) for path in warehouse.root.rglob("*")) == before


@pytest.mark.parametrize("words", [{}, {"trace": "test:a", "source": "test"}])
def test_exactly_one_thing_is_removed_at_a_time(words):
    with pytest.raises(InputError, match="one of --trace, --day, --source, --adapter"):
        Request.of(**words)


# -- afterwards -----------------------------------------------------------------------------------------------------


def test_what_was_removed_stays_away_and_leaves_no_bytes_when_it_lands_again(tmp_path, config):
    warehouse = planned(tmp_path, config, [Step([run("a", 0), run("b", 0)])])
    remove(warehouse, config, Request(trace="test:a"))
    land(warehouse, [run("a", 0), run("c", 0)], name="again")
    for day in landing_days(warehouse):
        materialise(warehouse, day, config)
    assert {item.trace_uid for item in load_raw_logs(warehouse, DAY)} == {"test:b", "test:c"}
    rows = warehouse.read_table("quarantine", str(DAY)).to_pylist()
    assert [(row["reason"], row["raw"]) for row in rows] == [(REASON, b"")]
    counts = warehouse.header("raw_logs", str(DAY)).counts
    assert counts["rows_in"] == counts["rows_out"] + counts["quarantined"] == 3


@pytest.mark.parametrize("computed", ["input_moments", "fisher", "base_replay", "checkpoints"])
def test_what_was_computed_from_what_goes_does_not_stay(tmp_path, config, computed):
    warehouse = planned(tmp_path, config, [Step([run("a", 0), run("b", 0)])])
    kept = warehouse.path(computed, "library-0001") / "tensors.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"made of what goes")
    remove(warehouse, config, Request(trace="test:a"))
    assert not [path for path in warehouse.root.rglob("*") if path.name == kept.name]


def test_a_day_whose_landing_expired_loses_its_rows_all_the_same(tmp_path, config):
    warehouse = planned(tmp_path / "with", config, [Step([run("a", 0), run("b", 0)])])
    for path in warehouse.path("landing", str(DAY)).iterdir():
        path.unlink()
    remove(warehouse, config, Request(trace="test:a"))
    other = planned(tmp_path / "without", config, [Step([run("b", 0)])])
    assert state_of(warehouse) == state_of(other)
    counts = warehouse.header("raw_logs", str(DAY)).counts
    assert (counts["rows_in"], counts["rows_out"]) == (1, 1)


def test_while_a_removal_is_under_way_everything_else_is_refused(tmp_path, config):
    warehouse = planned(tmp_path, config, [Step([run("a", 0), run("b", 0)])])
    assert resume(warehouse) is None
    active_path(warehouse).parent.mkdir(exist_ok=True)
    active_path(warehouse).write_text('{"number": 1}')
    for refused in (
        lambda: refuse_while_removing(warehouse),
        lambda: remove(warehouse, config, Request(trace="test:a")),
        lambda: plan_of(warehouse, config, Request(trace="test:a")),
    ):
        with pytest.raises(RemovalError, match="removal 0001 of this warehouse is not finished"):
            refused()
    assert TRAIN
