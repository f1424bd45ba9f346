"""What successful runs do and failed ones do not: within a task first, then among similar tasks."""

import pytest

from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY, called, trajectory

CONFIG = MemoryConfig(embedder="hashing")
EMBED = HashingEmbedder().embed
TRAIN = [f"t{k}" for k in range(200) if split_of(f"test:library:t{k}") == "train"]

GOOD = (("find", {"c": "1"}, "m1", True), ("pay", {"f": "1"}, "ok", True), ("renew", {"l": "1"}, "done", True))
BAD = (("find", {"c": "1"}, "m1", True), ("renew", {"l": "1"}, "done", True))
LOST = (("find", {"c": "1"}, "m1", True), ("cancel", {"l": "1"}, "done", True))


def run(k: int, outcome: str, calls, *, text: str = "please renew", trial: int = 0):
    item = trajectory(f"test:{k}-{outcome}-{trial}", task=TRAIN[k], outcome=outcome, steps=called(*calls))
    return item.model_copy(update={"task": text})


def folded(*runs, config: MemoryConfig = CONFIG, without_task: str | None = None):
    deltas = [delta for item in runs for delta in deltas_of(reflect(item), item.day)]
    return {item.title: item for item in fold(deltas, DAY, config, EMBED, without_task=without_task).items}


def mixed(n: int, good=GOOD, bad=BAD):
    return [run(k, outcome, calls) for k in range(n) for outcome, calls in (("success", good), ("failure", bad))]


def test_what_only_the_successful_trials_of_the_tasks_do_becomes_a_strategy():
    item = folded(*mixed(6))["Call pay"]
    assert (item.kind, item.scope) == ("strategy", "tool:pay")
    assert item.content == "Of 6 tasks whose trials differed in this, the successful trials did so in 6."
    assert len(item.task_ids) == 6


def test_what_only_the_failed_trials_of_the_tasks_do_becomes_a_pitfall():
    item = folded(*mixed(6, BAD, (*BAD, ("close", {}, "ok", True))))["Do not call close"]
    assert (item.kind, item.scope) == ("pitfall", "tool:close")
    assert item.content == "Of 6 tasks whose trials differed in this, the failed trials did otherwise in 6."


def test_looking_something_up_is_never_blamed():
    looked = (*BAD, ("find_fines", {}, "none", True), ("list_loans", {}, "none", True))
    assert not [title for title in folded(*mixed(8, BAD, looked)) if title.startswith("Do not")]


def test_few_tasks_or_tasks_that_disagree_teach_nothing():
    assert "Call pay" not in folded(*mixed(3))
    other_way = [run(k, o, c) for k in range(6, 10) for o, c in (("success", BAD), ("failure", GOOD))]
    assert "Call pay" not in folded(*mixed(6), *other_way)


def test_trials_of_a_task_count_as_one_task():
    trials = [run(0, o, c, trial=t) for t in range(9) for o, c in (("success", GOOD), ("failure", BAD))]
    assert "Call pay" not in folded(*trials)


def test_a_task_that_is_left_out_is_not_counted():
    runs = mixed(6)
    item = folded(*runs, without_task=runs[0].task_id)["Call pay"]
    assert item.content.startswith("Of 5 tasks")


def test_no_difference_between_success_and_failure_teaches_nothing():
    assert {item.kind for item in folded(*mixed(6, GOOD, GOOD)).values()} == {"workflow"}


def test_a_loop_that_fails_runs_is_named_once():
    twice = (*BAD, ("notify", {"m": "x"}, "sent", True), ("notify", {"m": "x"}, "sent", True))
    once = (*BAD, ("notify", {"m": "x"}, "sent", True))
    found = folded(*mixed(6, once, twice))
    assert [title for title in found if "notify" in title and found[title].kind == "pitfall"] == [
        "Call notify once at most"
    ]


def test_looking_up_all_of_a_list_is_a_difference():
    member = ("get_member", {"c": "m1"}, '{"loans": ["loan_1", "loan_2", "loan_3"]}', True)
    loans = [("get_loan", {"loan": f"loan_{k}"}, "ok", True) for k in (1, 2, 3)]
    done = ("renew", {}, "done", True)
    found = folded(*mixed(6, (member, *loans, done), (member, *loans[:2], done)))
    assert "Look up all loans that get_member lists, with get_loan" in found


def test_which_of_two_tools_that_find_the_same_is_called_teaches_nothing():
    ways = [
        (("find_by_card", {"c": "1"}, "member_77", True), ("get_member", {"id": "member_77"}, "ok", True)),
        (("find_by_name", {"n": "a"}, "member_77", True), ("get_member", {"id": "member_77"}, "ok", True)),
    ]
    titles = folded(*mixed(8, *[(*way, ("renew", {}, "done", True)) for way in ways]))
    assert not [title for title in titles if title.startswith(("Call find", "Do not"))]


def test_the_step_at_which_failed_trials_left_the_way_of_successful_ones_is_named():
    slow = (GOOD[0], ("wait", {}, "", True), *GOOD[1:])
    left = (GOOD[0], ("cancel", {"l": "1"}, "done", True), *GOOD[1:], ("wait", {}, "", True))
    item = folded(*mixed(6, slow, left))["After find, call wait, not cancel"]
    assert (item.kind, item.scope) == ("strategy", "tool:wait")
    assert item.content.endswith("Of 6 tasks whose trials parted there, 6 were won that way.")
    assert "Begin with find instead of ending without it" in folded(*mixed(6, GOOD, ()))


def test_partings_on_which_tasks_disagree_teach_nothing():
    other = (GOOD[0], ("close", {}, "ok", True), GOOD[2])
    runs = [
        *mixed(6, GOOD, other),
        *[run(k, o, c) for k in range(6, 12) for o, c in (("success", other), ("failure", GOOD))],
    ]
    assert not [title for title in folded(*runs) if title.startswith("After")]


def test_similar_tasks_are_contrasted_where_no_task_has_both_outcomes():
    wins = [run(k, "success", GOOD) for k in range(8)]
    like = [run(k, "failure", LOST) for k in range(8, 16)]
    item = folded(*wins, *like)["To renew: do not call cancel"]
    assert item.kind == "pitfall"
    assert item.content == "Done in 0% of 8 successful tasks, 100% of 8 failed ones."


def test_a_failed_run_is_compared_with_successes_of_similar_tasks_only():
    wins = [run(k, "success", GOOD) for k in range(8)]
    unlike = [run(k, "failure", LOST, text="is it warm tomorrow") for k in range(8, 16)]
    assert set(folded(*wins, *unlike)) == {"How to renew"}


def test_a_failed_run_is_compared_with_a_success_of_its_own_task_before_one_that_reads_alike():
    own = [run(k, "success", BAD) for k in range(8)]
    other = [run(k, "success", (*BAD, ("pay", {}, "", True)), text="pay my fine") for k in range(8, 16)]
    lost = [run(k, "failure", LOST, text="pay my fine") for k in range(8)]
    titles = set(folded(*own, *other, *lost))
    assert "Do not call cancel" in titles
    assert not [title for title in titles if title.startswith("To pay")]


@pytest.mark.parametrize("most", [0, 1])
def test_only_the_clearest_differences_of_a_group_are_kept(most):
    good = (*GOOD, ("close", {}, "ok", True))
    found = folded(*mixed(8, good, BAD), config=MemoryConfig(embedder="hashing", max_contrasts=most))
    assert sum(title.startswith("Call") for title in found) == most
    assert sum(title.startswith("After") for title in found) == most


def test_two_rows_of_one_run_that_went_the_same_way_are_no_reason_to_stop():
    rows = [deltas_of(reflect(one), DAY)[-1] for one in (run(0, "success", GOOD), run(0, "failure", BAD))]
    again = rows[0].model_copy(update={"content": "in other words"})
    bank = fold([*rows, again], DAY, CONFIG, EMBED)
    assert bank.n_deltas == 3
