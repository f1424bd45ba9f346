"""What newer evidence does to older items of a domain: opposites, better words, and runs that say nothing."""

from collections import Counter
from datetime import timedelta
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.curate import Fold, fold
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.reflection.rules import reflect
from synde_pipeline_tests.helpers import DAY, called, trajectory
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.memory.test_operations import CONFIG, EMBED, LAST, bank_of, edit, only, row, runs, says, tags

PAY, SKIP = "pay the fine before you renew", "never pay the fine before you renew"


def stands(*rows, **words) -> dict[str, str]:
    """Title -> status."""
    bank = bank_of(*rows, **words)
    return {item.title: item.status for item in chain(bank.items, bank.others)}


def test_the_opposite_that_enough_tasks_say_since_takes_an_items_place():
    old = [says(1, PAY), says(2, PAY, day=1)]
    new = [says(k, SKIP, day=k, kind="strategy") for k in (3, 4)]
    assert stands(*old, new[0]) == {PAY: "active", SKIP: "candidate"}
    bank = bank_of(*old, *new)
    (said,), (before,) = bank.items, bank.others
    assert (said.title, before.title, before.status, before.successor) == (SKIP, PAY, "retired", said.item_id)
    assert before.reason == f"superseded with {said.item_id}, its opposite: 2 tasks say so since {new[0].day}"
    assert stands(*old, *new, as_of=old[1].day) == {PAY: "active"}


def test_opposites_that_are_said_side_by_side_both_stand():
    old, new = [says(1, PAY), says(2, PAY, day=5)], [says(k, SKIP, day=k) for k in (3, 4)]
    assert stands(*old, *new) == {PAY: "active", SKIP: "active"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PAY, "pay the fine after you renew"),  # another advice
        ("check before you pay", "never pay before you check"),  # the same advice
        (PAY, SKIP.replace("fine", "fee")),
    ],
)
def test_what_is_no_opposite_supersedes_nothing(one, other):
    rows = [says(1, one), says(2, one), says(3, other, day=3), says(4, other, day=4)]
    bank = bank_of(*rows)
    assert bank.items
    assert not bank.others


def test_a_persons_lesson_is_superseded_by_people_alone():
    own = says(0, PAY).model_copy(update={"task_id": "", "source": "human", "trace_uid": "human:1"})
    new = [says(k, SKIP, day=k) for k in (3, 4)]
    assert stands(own, *new) == {PAY: "active", SKIP: "active"}
    old = [says(1, PAY), says(2, PAY)]
    (item,) = bank_of(*old).items
    assert stands(*old, *new, edit("UPDATE", item.item_id, "restore", day=6)) == {PAY: "active", SKIP: "active"}


def test_a_pinned_item_outlives_its_opposite():
    old, new = [says(1, PAY), says(2, PAY)], [says(k, SKIP, day=k) for k in (3, 4)]
    (item,) = bank_of(*old).items
    assert stands(*old, *new, edit("UPDATE", item.item_id, "pin")) == {PAY: "active", SKIP: "active"}


def test_the_words_that_most_tasks_use_are_said_and_the_others_kept():
    rows = [says(1, description="when due"), *(says(k, description="when overdue, not when paid") for k in (2, 3))]
    item = only(*rows)
    assert (item.description, item.unsaid) == ("when overdue, not when paid", ("when due",))
    assert only(*rows[:2]).description == "when due"  # of equals, what was said last, then by its letters
    assert only(rows[0], says(2, description="when late", day=1)).description == "when late"
    own = says(0, content="mine").model_copy(update={"task_id": "", "source": "human", "trace_uid": "human:1"})
    assert only(*rows, own).unsaid == ("when overdue, not when paid", "pay, then renew")


# -- neutral --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("success", "helpful"), ("failure", "harmful"), ("partial", "neutral"), ("unknown", "neutral")],
)
def test_a_run_tags_each_item_that_it_was_shown_by_its_outcome(outcome, verdict):
    item = trajectory("test:1", task=TRAIN[0], outcome=outcome, steps=called(("find", {"c": "1"}, "m1", True)))
    found = deltas_of(reflect(item.model_copy(update={"shown_memory": ("a@1", "b", "a@1")})), item.day)
    assert [(d.target, d.value) for d in found if d.op == "TAG"] == [("a@1", verdict), ("b", verdict)]


def shown_runs(item_id: str, n: int, path: tuple[str, ...]):
    """Tasks that failed with an item shown, and the tools that they called."""
    bad = tags(0, n, target=item_id)
    about = [{"uid": tag.trace_uid, "outcome": "failure", "content": "renew", "day": 1} for tag in bad]
    return [*bad, *(row("EVIDENCE", 10 + k, path=path, shown=(item_id,), **said) for k, said in enumerate(about))]


def test_runs_without_outcome_are_counted_and_retire_nothing():
    item = only(says(1), says(2))
    neutral = [row("TAG", 10 + k, target=item.item_id, value="neutral", outcome="unknown") for k in range(14)]
    found = only(says(1), says(2), *neutral, *runs(14, 0))
    assert (found.status, found.helpful, found.harmful, found.neutral) == ("active", 0, 0, 14)


def test_a_failure_in_which_an_items_tool_was_never_called_says_nothing_of_it():
    two = [says(1, kind="strategy"), says(2, kind="strategy")]
    (item,) = bank_of(*two).items
    others = [row("EVIDENCE", 100 + k, uid=f"test:e{k}", content="renew", path=("renew",)) for k in range(14)]
    reached, stopped = (shown_runs(item.item_id, 14, path) for path in (("find", "renew"), ("find",)))
    assert {i.status for i in bank_of(*two, *reached, *others).others} == {"retired"}
    (kept,) = bank_of(*two, *stopped, *others).items
    assert (kept.status, kept.harmful, kept.neutral) == ("active", 0, 14)


def test_a_pitfall_may_be_heeded_by_not_calling_its_tool():
    two = [says(1), says(2)]
    (item,) = bank_of(*two).items
    assert only(*two, *shown_runs(item.item_id, 3, ("find",))).harmful == 3


# -- laws 1 and 2 ---------------------------------------------------------------------------------------------------

SITE = {"scope": "site:zormek", "title": "nav", "description": ""}


@st.composite
def evidence(draw) -> list:
    """Lessons that contradict each other, options that stop working and work again, and runs that were shown them.

    Some become known later than their day. The days of the two sides lie apart more often than chance would have it.
    """
    rows, turn = [], draw(st.integers(1, 5))
    for k in range(draw(st.integers(0, 14))):
        day, task, late = draw(st.integers(0, 6)), draw(st.integers(0, 5)), draw(st.sampled_from([0, 0, 0, 2]))
        is_new, uid = day >= turn, f"test:{k}"
        about = {"uid": uid, "day": day, "outcome": draw(st.sampled_from(["success", "failure", "unknown"]))}
        if draw(st.booleans()):
            said = [says(task, SKIP if is_new else PAY, description=draw(st.sampled_from("ab")), **about)]
        else:
            works, fails = ("search", "browse") if is_new else ("browse", "search")
            said = [says(task, **SITE, kind="strategy", content=works, **about)]
            said += [says(task, **SITE, kind="pitfall", content=fails, **about)] * draw(st.booleans())
        shown = (draw(st.sampled_from([ID_AT_SITE, ID_PAY])),)
        said += [row("TAG", task, target=shown[0], value="neutral", **about)]
        said += [row("EVIDENCE", task, content="renew", path=("nav",) * draw(st.booleans()), shown=shown, **about)]
        rows += [one.model_copy(update={"effective_day": one.day + timedelta(late)}) for one in said]
    return rows


def known(deltas, as_of=LAST, **words):
    bank = fold(deltas, as_of, CONFIG, EMBED, **words)
    return bank.items, bank.others, bank.bank_hash


(ID_AT_SITE,) = (item.item_id for item in bank_of(*(says(k, **SITE, kind="strategy") for k in (1, 2))).items)
(ID_PAY,) = (item.item_id for item in bank_of(says(1, PAY), says(2, PAY)).items)


@given(evidence(), st.randoms(), st.integers(0, 8))
def test_what_superseded_what_is_the_same_in_any_order_and_as_it_was_known_by_then(rows, random, day):
    as_of = DAY + timedelta(day)
    shuffled = rows * 2
    random.shuffle(shuffled)
    by_then = [one for one in rows if one.effective_day <= as_of]
    assert known(shuffled, as_of) == known(rows, as_of) == known(by_then, as_of) == known(by_then)
    grown = Fold(Ledger.of(()), CONFIG, EMBED)
    days = [DAY + timedelta(k) for k in range(7)] * 2
    random.shuffle(days)
    for late in days:
        grown = grown.replaced(late, [one for one in rows if one.day == late])
        grown.bank(as_of)
    assert grown.bank(as_of) == fold(rows, as_of, CONFIG, EMBED)


@given(evidence())
def test_what_superseded_what_without_a_task_is_a_history_without_it(rows):
    for task in {one.task_id for one in rows}:
        assert known(rows, without_task=task) == known([one for one in rows if one.task_id != task])


@given(evidence())
def test_every_superseded_item_points_to_one_that_is_there_and_none_that_is_shown_does(rows):
    items, others, _ = known(rows)
    ids = {item.item_id for item in (*items, *others)}
    assert all(not item.successor for item in items)
    assert all(item.successor in ids - {item.item_id} for item in others if item.successor)


def test_random_evidence_supersedes_both_lessons_and_options():
    found: Counter[str] = Counter()

    @given(evidence())
    def look(rows):
        items, others, _ = known(rows)
        found.update(item.title for item in others if item.successor)
        found["unsaid"] += sum(bool(item.unsaid) for item in items)
        found["neutral"] += sum(item.neutral for item in items)

    look()
    assert min(found[name] for name in (PAY, "nav", "unsaid", "neutral")) >= 3, found
