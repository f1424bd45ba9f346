"""What holds at a place is a fold like any other: pure, exact without a task, and it forgets what changed."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import Trajectory
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY, called, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN
from synde_pipeline_tests.memory.test_operations import edit

CONFIG = MemoryConfig(embedder="hashing")
EMBED = HashingEmbedder().embed
SCOPE = "site:zormek"

WORKS, FAILS = True, False


def visit(k: int, *calls: tuple[str, str, bool], day: int = 0, outcome: str = "success", scope: str = SCOPE, trial=0):
    """Task k tries options at a place: (tool, option, whether it worked)."""
    steps = called(*((tool, option, "", success) for tool, option, success in calls))
    uid = f"test:{k}-{day}-{trial}"
    return trajectory(uid, task=TRAIN[k], day=DAY + timedelta(day), outcome=outcome, scope=scope, steps=steps)


@st.composite
def histories(draw) -> list[Trajectory]:
    """Runs of a few tasks on a few days: at two places, and without any."""
    calls = st.tuples(st.sampled_from(["nav", "extract"]), st.sampled_from("abc"), st.booleans())
    items = []
    for uid in range(draw(st.integers(0, 16))):
        task, day, scope = (
            draw(st.integers(0, 5)),
            draw(st.integers(0, 3)),
            draw(st.sampled_from(["", SCOPE, "site:b"])),
        )
        outcome = draw(st.sampled_from(["success", "failure", "unknown"]))
        if scope:
            tried = draw(st.lists(calls, max_size=4))
            items.append(visit(task, *tried, day=day, outcome=outcome, scope=scope, trial=uid))
        else:
            steps = called(*draw(st.sampled_from([GOOD, BAD])))
            day = DAY + timedelta(day)
            items.append(trajectory(f"test:{uid}", task=TRAIN[task], day=day, outcome=outcome, steps=steps))
    return items


def deltas_from(items):
    return [delta for item in items for delta in deltas_of(reflect(item), item.day)]


def learned(items, *, config: MemoryConfig = CONFIG, **words) -> dict[str, tuple[str, str]]:
    """Tool -> kind and content of its item, as of the last day."""
    bank = fold(deltas_from(items), DAY + timedelta(99), config, EMBED, **words)
    return {item.title: (item.kind, item.content) for item in bank.items}


@given(histories(), st.randoms())
def test_any_order_and_any_repeats_of_deltas_teach_a_place_the_same(items, random):
    deltas = deltas_from(items)
    shuffled = deltas * 2
    random.shuffle(shuffled)
    as_of = DAY + timedelta(2)
    assert fold(shuffled, as_of, CONFIG, EMBED) == fold(deltas, as_of, CONFIG, EMBED)


@given(histories())
def test_a_place_without_a_task_is_as_if_that_task_had_never_been_there(items):
    deltas = deltas_from(items)
    as_of = DAY + timedelta(2)
    for task in {delta.task_id for delta in deltas}:
        without = [delta for delta in deltas if delta.task_id != task and delta.effective_day <= as_of]
        left_out = fold(deltas, as_of, CONFIG, EMBED, without_task=task)
        assert left_out == fold(without, as_of, CONFIG, EMBED)
        assert all(task not in item.task_ids for item in left_out.items)


@given(histories())
def test_a_place_has_one_item_a_tool_and_enough_tasks_stand_behind_each(items):
    bank = fold(deltas_from(items), DAY + timedelta(3), CONFIG, EMBED)
    keys = [(item.scope, item.title) for item in bank.items if item.place]
    assert len(set(keys)) == len(keys)
    assert all(len(item.task_ids) >= CONFIG.min_tasks for item in bank.items)


def test_the_option_that_works_becomes_a_strategy_even_if_every_run_was_lost():
    runs = [visit(k, ("nav", "map", FAILS), ("nav", "browse", WORKS), outcome="failure") for k in range(2)]
    (item,) = fold(deltas_from(runs), DAY, CONFIG, EMBED).items
    assert (item.kind, item.scope, item.title, item.content) == ("strategy", SCOPE, "nav", "browse")
    assert (item.place, item.key_text) == ("zormek", "zormek nav")
    assert {support.trace_uid for support in item.supports} == {run.trace_uid for run in runs}


def test_as_long_as_nothing_works_what_failed_is_listed_in_order():
    runs = [visit(0, ("nav", "search", FAILS)), visit(1, ("nav", "browse", FAILS)), visit(2, ("nav", "browse", FAILS))]
    assert learned(runs) == {"nav": ("pitfall", "browse, search")}
    assert learned(runs, without_task=runs[0].task_id) == {"nav": ("pitfall", "browse")}


def test_one_tasks_experience_at_a_place_is_not_shown_however_often_it_was_tried():
    trials = [visit(0, ("nav", "browse", WORKS), trial=trial) for trial in range(3)]
    assert learned(trials) == {}
    assert learned(trials, config=MemoryConfig(min_tasks=1)) == {"nav": ("strategy", "browse")}


def test_an_option_that_worked_for_one_task_alone_is_neither_recommended_nor_warned_of():
    failed = [visit(k, ("nav", "search", FAILS)) for k in range(2)]
    assert learned([*failed, visit(2, ("nav", "browse", WORKS), day=1)]) == {"nav": ("pitfall", "search")}


def test_an_item_keeps_its_id_when_a_pitfall_turns_into_a_strategy():
    failed = [visit(k, ("nav", "search", FAILS)) for k in range(2)]
    worked = [visit(k, ("nav", "browse", WORKS), day=1) for k in range(2)]
    (before,) = fold(deltas_from(failed), DAY, CONFIG, EMBED).items
    (after,) = fold(deltas_from([*failed, *worked]), DAY + timedelta(1), CONFIG, EMBED).items
    assert (before.kind, after.kind) == ("pitfall", "strategy")
    assert before.item_id == after.item_id


def test_the_same_tool_at_another_place_or_in_another_domain_is_another_item():
    here = [visit(k, ("nav", "browse", WORKS)) for k in range(2)]
    there = [visit(k, ("nav", "search", WORKS), scope="site:other", trial=1) for k in range(2)]
    items = fold(deltas_from([*here, *there]), DAY, CONFIG, EMBED).items
    assert {(item.scope, item.content) for item in items} == {(SCOPE, "browse"), ("site:other", "search")}
    assert len({item.item_id for item in items}) == 2


def test_a_convention_that_changed_is_unlearned_by_as_few_tasks_as_taught_it():
    old = [visit(k, ("nav", "browse", WORKS), day=k) for k in range(8)]
    failing = [visit(8 + k, ("nav", "browse", FAILS), day=8) for k in range(2)]
    assert learned([*old, *failing]) == {"nav": ("pitfall", "browse")}
    new = [visit(8 + k, ("nav", "browse", FAILS), ("nav", "search", WORKS), day=8) for k in range(2)]
    assert learned([*old, *new]) == {"nav": ("strategy", "search")}


def test_of_two_options_that_work_the_newer_one_is_shown():
    old = [visit(k, ("nav", "browse", WORKS)) for k in range(4)]
    new = [visit(k, ("nav", "search", WORKS), day=1) for k in range(2)]
    assert learned([*old, *new]) == {"nav": ("strategy", "search")}


def test_a_time_out_unlearns_nothing():
    worked = [visit(k, ("nav", "browse", WORKS), day=k) for k in range(3)]
    timed_out = visit(3, ("nav", "browse", FAILS), day=3, outcome="failure")
    assert learned([*worked, timed_out]) == {"nav": ("strategy", "browse")}


def test_an_option_that_only_seems_to_work_loses_to_one_that_led_to_success():
    right = [visit(k, ("extract", ".price", WORKS), outcome=("success", "failure")[k % 2]) for k in range(2)]
    decoys = [visit(2 + k, ("extract", "@data", WORKS), day=1, outcome="failure") for k in range(4)]
    assert learned([*right, *decoys]) == {"extract": ("strategy", ".price")}


def test_a_run_at_a_place_is_no_evidence_for_the_rest_of_its_domain():
    calls = [(tool, "x", WORKS) for tool in ("find", "loan", "renew")]
    assert learned([visit(k, *calls) for k in range(4)]).keys() == {"find", "loan", "renew"}
    assert "How to renew" in learned([visit(k, *calls, scope="") for k in range(4)])


# -- conventions that change ----------------------------------------------------------------------------------------


def bank_of(items, day: int = 99):
    return fold(deltas_from(items), DAY + timedelta(day), CONFIG, EMBED)


OLD = [visit(k, ("nav", "search", FAILS), ("nav", "browse", WORKS), day=k) for k in range(3)]
CHANGE = [visit(10 + k, ("nav", "browse", FAILS), day=8, outcome="failure") for k in range(2)]
NEW = [visit(12 + k, ("nav", "search", WORKS), day=9) for k in range(2)]
BACK = [visit(14 + k, ("nav", "search", FAILS), ("nav", "browse", WORKS), day=12) for k in range(2)]


def test_what_failed_under_the_old_convention_is_not_warned_of_after_the_change():
    assert learned([*OLD, *CHANGE]) == {"nav": ("pitfall", "browse")}
    failed_since = [visit(20 + k, ("nav", "search", FAILS), day=9, outcome="failure") for k in range(2)]
    assert learned([*OLD, *CHANGE, *failed_since]) == {"nav": ("pitfall", "browse, search")}


def test_a_changed_convention_keeps_the_old_option_as_an_item_that_points_to_its_successor():
    for runs, said in (([*OLD, *CHANGE], "browse"), ([*OLD, *CHANGE, *NEW], "search")):
        bank = bank_of(runs)
        (now,), (old,) = bank.items, bank.others
        assert (now.content, old.kind, old.content, old.status) == (said, "strategy", "browse", "retired")
        assert (old.successor, old.item_id != now.item_id) == (now.item_id, True)
        assert {support.trace_uid for support in old.supports} == {run.trace_uid for run in OLD}
        assert f"last seen to work on {DAY + timedelta(2)}" in old.reason


def test_a_convention_that_returns_is_said_again_and_the_one_between_is_superseded():
    before, after = bank_of([*OLD, *CHANGE, *NEW, *BACK], 9), bank_of([*OLD, *CHANGE, *NEW, *BACK])
    assert [(i.content, i.status, i.successor != "") for i in (*before.items, *before.others)] == [
        ("search", "active", False),
        ("browse", "retired", True),
    ]
    assert [(i.content, i.status, i.successor) for i in (*after.items, *after.others)] == [
        ("browse", "active", ""),
        ("search", "retired", before.items[0].item_id),
    ]


def test_a_person_may_restore_a_superseded_option():
    rows = deltas_from([*OLD, *CHANGE, *NEW])
    (old,) = fold(rows, DAY + timedelta(20), CONFIG, EMBED).others
    bank = fold([*rows, edit("UPDATE", old.item_id, "restore", day=15)], DAY + timedelta(20), CONFIG, EMBED)
    assert sorted((item.content, item.successor) for item in bank.items) == [("browse", ""), ("search", "")]
