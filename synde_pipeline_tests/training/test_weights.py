"""Credit by outcome and by step, hindsight cleaning, views of the memory, and which tokens a mistake is blamed on."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import BufferConfig, MemoryConfig, PromptConfig, Settings, TrainingConfig
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.examples import ExampleTurn, examples_of, shown_part, turns_of
from synde_pipeline.training.shards import build_shard, token_weights
from synde_pipeline.training.weights import signals_of
from synde_pipeline_tests.helpers import DAY, called, trajectories, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN, all_deltas
from synde_pipeline_tests.models_for_tests import tokenizer
from synde_pipeline_tests.training.test_buffer import arrive

BY_STEP = TrainingConfig(credit="step")
BY_OUTCOME = TrainingConfig(credit="outcome")

OPENED = ("nav", "search", "open extract", True)
SHOWN = ("extract", ".price", "found 12.34 answer", True)
# Two wrong options, the right one, a mistake that nothing mends: every kind of step.
LOST = (
    ("nav", "browse", "empty nav", False),
    ("nav", "sitemap", "empty nav", False),
    OPENED,
    ("extract", "#cost", "null extract", False),
    ("answer", "11.11", "wrong", False),
)


def run(calls, outcome="success"):
    return trajectory(task=TRAIN[0], outcome=outcome, steps=called(*calls))


def signals(item, config):
    return signals_of(item, reflect(item), config)


def turns(item, config):
    return turns_of(reversed(examples_of(item, reflect(item), config)))


# -- what each step teaches -----------------------------------------------------------------------------------------


def test_by_step_progress_is_imitated_even_in_a_failed_run():
    assert signals(run(LOST, "failure"), BY_STEP) == ["repaired", "repaired", "imitate", "avoid", "avoid"]
    assert signals(run((OPENED, SHOWN), "failure"), BY_STEP) == ["imitate", "imitate"]


def test_by_outcome_a_failed_run_teaches_to_avoid_one_step_and_the_judged_progress_before_it():
    item = run(LOST, "failure")
    assert reflect(item).error_step == 4
    assert signals(item, BY_OUTCOME) == ["repaired", "repaired", "imitate", "context", "avoid"]
    after_it = run((*LOST[:2], LOST[3], ("login", "guest", "welcome", True)), "failure")
    assert reflect(after_it).error_step == 2
    assert signals(after_it, BY_OUTCOME) == ["context", "context", "avoid", "context"]


@pytest.mark.parametrize("outcome", ["success", "partial", "failure", "unknown"])
def test_by_step_a_judged_step_means_the_same_whatever_became_of_the_run(outcome):
    assert signals(run(LOST, outcome), BY_STEP) == signals(run(LOST), BY_STEP)


def test_a_mistake_counts_as_mended_only_if_the_same_tool_made_it_good_before_another_was_called():
    wrong, other = ("nav", "browse", "empty nav", False), ("login", "guest", "welcome nav", True)
    assert signals(run((wrong, OPENED)), BY_STEP) == ["repaired", "imitate"]
    assert signals(run((wrong, other, OPENED)), BY_STEP) == ["avoid", "imitate", "imitate"]
    assert signals(run((wrong, wrong)), BY_STEP) == ["avoid", "avoid"]
    assert signals(run((OPENED, wrong)), BY_STEP) == ["imitate", "avoid"]


@given(trajectories())
def test_steps_that_nobody_judged_are_credited_by_their_runs_outcome(item):
    by_step, by_outcome = signals(item, BY_STEP), signals(item, BY_OUTCOME)
    for step, mine, fallback in zip(item.steps, by_step, by_outcome, strict=True):
        if step.success is None:
            assert mine in (fallback, "repaired")
        else:
            assert (mine == "imitate") == step.success


def test_an_unjudged_run_teaches_nothing_by_either_credit():
    calls = tuple((tool, arguments, result, None) for tool, arguments, result, _ in LOST)
    for config in (BY_STEP, BY_OUTCOME):
        assert signals(run(calls, "unknown"), config) == ["context"] * len(LOST)
        assert set(signals(run(calls), config)) == {"imitate"}


# -- hindsight ------------------------------------------------------------------------------------------------------


def test_repaired_attempts_are_left_out_and_the_mending_call_sees_what_the_first_of_them_saw():
    seen = [(turn.index, turn.arguments, turn.state) for turn in turns(run(LOST, "failure"), BY_STEP)]
    assert seen == [
        (2, "search", ""),  # not "empty nav", which the two attempts before it got back
        (3, "#cost", "open extract"),
        (4, "11.11", "null extract"),
    ]


def test_each_repair_stands_for_itself():
    wrong = ("extract", "#cost", "null extract", False)
    found = turns(run((OPENED, wrong, SHOWN, ("answer", "12.34", "accepted", True))), BY_STEP)
    assert [(turn.index, turn.state) for turn in found] == [(0, ""), (2, "open extract"), (3, "found 12.34 answer")]


def test_calls_that_nobody_judged_between_an_attempt_and_its_repair_are_cut_with_it():
    wrong, unjudged = ("nav", "browse", "empty nav", False), ("nav", "sitemap", "", None)
    item = run((wrong, unjudged, OPENED, SHOWN))
    for config in (BY_STEP, BY_OUTCOME):
        assert signals(item, config) == ["repaired", "repaired", "imitate", "imitate"]
        assert [(turn.index, turn.state) for turn in turns(item, config)] == [(2, ""), (3, "open extract")]
    assert signals(run((unjudged, wrong, OPENED)), BY_STEP) == ["imitate", "repaired", "imitate"]
    assert signals(run((wrong, unjudged)), BY_STEP) == ["avoid", "imitate"]


# -- blame ----------------------------------------------------------------------------------------------------------


def weighed(turn, *, arguments_only):
    """Texts of the tokens with a weight, and of those to avoid; and the weights."""
    (window,) = PromptEncoder(tokenizer(), PromptConfig()).windows("library", "renew", [], [turn])
    weights, avoid = token_weights(window, [turn], arguments_only=arguments_only)
    picked = [k for k, weight in enumerate(weights) if weight]
    blamed = tokenizer().decode([window.ids[k] for k, flag in enumerate(avoid) if flag])
    return tokenizer().decode([window.ids[k] for k in picked]), blamed, {weights[k] for k in picked}


def turn_of(signal, arguments='{"l":"1"}'):
    return ExampleTurn(0, "card found", "my loan", "renew_loan", arguments, signal, 2.0)


def test_an_avoided_steps_tool_is_let_off_where_only_its_arguments_were_wrong():
    assert weighed(turn_of("avoid"), arguments_only=True) == ('{"l":"1"}', '{"l":"1"}', {2.0})
    whole = 'renew_loan<|args|>{"l":"1"}<|end|>'
    assert weighed(turn_of("avoid"), arguments_only=False) == (whole, whole, {2.0})


def test_without_arguments_the_whole_call_is_what_was_wrong():
    whole = "renew_loan<|args|><|end|>"
    assert weighed(turn_of("avoid", ""), arguments_only=True) == (whole, whole, {2.0})


def test_letting_tools_off_changes_nothing_about_what_is_imitated_or_only_read():
    for signal in ("imitate", "context"):
        both = [weighed(turn_of(signal), arguments_only=flag) for flag in (True, False)]
        assert both[0] == both[1]
        assert both[0][1] == ""
    assert both[0][0] == ""


# -- views ----------------------------------------------------------------------------------------------------------

ITEMS = list("abcdef")


def test_a_view_shows_nothing_in_the_share_of_the_dropout_and_else_any_part_in_order():
    shown = [shown_part(ITEMS, f"test:{k}", k % 2, dropout=0.3) for k in range(2000)]
    assert shown == [shown_part(ITEMS, f"test:{k}", k % 2, dropout=0.3) for k in range(2000)]
    empty = [part for part in shown if not part]
    assert 0.26 < len(empty) / 2000 < 0.34
    assert all(part == sorted(part) for part in shown)
    for n in range(1, 7):
        assert 0.13 < sum(len(part) == n for part in shown) / (2000 - len(empty)) < 0.21
    for item in ITEMS:  # half of what is shown, on average a little more: sizes are 1 to 6
        assert 0.53 < sum(item in part for part in shown) / (2000 - len(empty)) < 0.64


@given(st.lists(st.integers(), max_size=8, unique=True), st.text(max_size=8), st.integers(0, 3))
def test_the_ends_of_the_dropout_show_nothing_and_something(items, uid, view):
    assert shown_part(items, uid, view, dropout=1.0) == []
    part = shown_part(items, uid, view, dropout=0.0)
    assert bool(part) == bool(items)
    assert part == [item for item in items if item in part]


def test_views_of_one_trajectory_differ():
    assert len({tuple(shown_part(ITEMS, "test:a", view, dropout=0.5)) for view in range(12)}) > 4


@pytest.fixture
def packed(warehouse):
    """A shard of six runs that failed and were mended, packed by any settings, with what an earlier day taught."""
    arrive(warehouse, DAY, [f"test:{k}" for k in range(6)], calls=(*BAD, ("renew", {"l": "2"}, "done", True)))
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    config = MemoryConfig(embedder="hashing", min_tasks=1)
    day = DAY - timedelta(1)
    earlier = [
        trajectory(f"old:{k}", task=TRAIN[10 + k], day=day, outcome=outcome, steps=called(*calls))
        for k, (outcome, calls) in enumerate([("success", GOOD), ("failure", BAD)] * 2)
    ]
    memory = Memory.of(all_deltas(earlier), config)

    def pack(**training):
        settings = Settings(memory=config, training=TrainingConfig(**training))
        rows = build_shard(warehouse, cycle, memory, PromptEncoder(tokenizer(), settings.prompt), settings).rows
        by_uid = {}
        for row in rows:
            by_uid.setdefault(row["trace_uid"], []).append(row)
        assert len(by_uid) == 6
        return by_uid

    return pack


def test_two_views_make_two_sequences_of_each_trajectory_with_their_own_part_of_the_memory(packed):
    whole = packed(tip_dropout=0.0)
    assert {len(rows) for rows in whole.values()} == {1}
    n_items = {uid: row["n_memory_items"] for uid, (row,) in whole.items()}
    assert min(n_items.values()) >= 2
    two = packed(views=2, tip_dropout=0.0)
    assert {len(rows) for rows in two.values()} == {2}
    assert all(1 <= row["n_memory_items"] <= n_items[uid] for uid, rows in two.items() for row in rows)
    numbers = [tuple(row["n_memory_items"] for row in rows) for rows in two.values()]
    assert any(a != b for a, b in numbers)
    for uid, rows in two.items():
        taught = [[t for t, w in zip(row["input_ids"], row["weights"], strict=True) if w] for row in rows]
        assert taught[0] == taught[1]
        assert all(set(row["memory_trajectories"]) <= set(whole[uid][0]["memory_trajectories"]) for row in rows)


def test_views_that_show_nothing_are_the_same_sequence(packed):
    for first, second in packed(views=2, tip_dropout=1.0).values():
        assert first == second
        assert (first["n_memory_items"], first["memory_trajectories"]) == (0, [])
