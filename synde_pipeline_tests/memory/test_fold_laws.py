"""Laws 1 and 2 over random sets of deltas with all operations: the fold sees a set, as of a day, without a task."""

from collections import Counter
from datetime import timedelta
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.memory.curate import Bank, Fold, fold
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.store import to_table
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.ledgers import CONFIG, EMBED, LAST, TASKS, days, ledgers

CASES = settings(max_examples=120)


def folded(deltas, as_of=LAST, **words) -> Bank:
    return fold(deltas, as_of, CONFIG, EMBED, **words)


def everything(bank: Bank):
    """All that a bank says; comparing it shows what differs where a hash does not."""
    return bank.items, bank.others, bank.orphans, bank.n_deltas, bank.bank_hash


@given(ledgers, st.randoms())
@CASES
def test_order_and_repeats_change_nothing(deltas, random):
    shuffled = deltas * 2
    random.shuffle(shuffled)
    assert everything(folded(shuffled)) == everything(folded(deltas))


@given(ledgers, days)
@CASES
def test_a_bank_of_a_day_is_made_of_what_was_known_by_then(deltas, as_of):
    known = [delta for delta in deltas if delta.effective_day <= as_of]
    assert everything(folded(deltas, as_of)) == everything(folded(known, as_of)) == everything(folded(known))


@given(ledgers, days)
@CASES
def test_leaving_a_task_out_is_a_history_without_it(deltas, as_of):
    for task in TASKS:
        without = [delta for delta in deltas if delta.task_id != task]
        bank = folded(deltas, as_of, without_task=task)
        first = {(delta.trace_uid, delta.day) for delta in deltas}
        if len({uid for uid, _ in first}) == len(first):  # else a stale day of another task speaks up without it
            assert everything(bank) == everything(folded(without, as_of))
        assert all(task not in item.task_ids for item in chain(bank.items, bank.others))


@given(ledgers, st.randoms(), days)
@CASES
def test_days_replaced_in_any_order_and_twice_amount_to_the_whole(deltas, random, as_of):
    by_day = {DAY + timedelta(k): [d for d in deltas if d.day == DAY + timedelta(k)] for k in range(5)}
    grown = Fold(Ledger.of(()), CONFIG, EMBED)
    turns = list(by_day) * 2
    random.shuffle(turns)
    for number, day in enumerate(turns):
        stale = random.sample(deltas, min(3, len(deltas))) if number < len(by_day) else []
        rows = [*by_day[day], *(delta.model_copy(update={"day": day}) for delta in stale)]
        grown = grown.replaced(day, rows if day in turns[number + 1 :] else by_day[day])
        grown.bank(as_of)  # what is remembered from here must not show later
    assert everything(grown.bank(as_of)) == everything(folded(deltas, as_of))
    assert everything(grown.bank(LAST, TASKS[0])) == everything(folded(deltas, without_task=TASKS[0]))


@given(ledgers, days)
@CASES
def test_a_ledger_read_from_its_table_folds_the_same(deltas, as_of):
    unique = list(dict.fromkeys(deltas))
    table = to_table(unique, EMBED([delta.key_text for delta in unique]))
    read = Fold(Ledger.read(table), CONFIG, EMBED)
    assert everything(read.bank(as_of)) == everything(folded(deltas, as_of))


@given(ledgers, st.randoms(), days)
@settings(max_examples=40)
def test_a_ledger_of_some_logs_and_other_rows_is_that_of_all_of_them(deltas, random, as_of):
    chosen = {key: random.random() < 0.5 for key in {(delta.trace_uid, delta.day) for delta in deltas}}
    kept = [delta for delta in deltas if delta.source == "human" or chosen[delta.trace_uid, delta.day]]
    people = {delta.trace_uid for delta in kept if delta.source == "human"}
    others = [delta for delta in deltas if delta not in kept]
    some = Ledger.of(deltas).of_logs(lambda uid, day: chosen[uid, day])
    assert everything(Fold(some, CONFIG, EMBED).bank(as_of)) == everything(folded(kept, as_of))
    assert some.task_ids == {delta.task_id for delta in kept}
    assert some.last_day == max((delta.effective_day for delta in kept), default=None)
    assert people <= {some.codes.names[code] for found in some.uids.values() for code in found}
    assert everything(Fold(some.with_rows(others), CONFIG, EMBED).bank(as_of)) == everything(folded(deltas, as_of))


def test_random_ledgers_hold_items_of_every_standing():
    found: Counter[str] = Counter()

    @given(ledgers)
    @settings(max_examples=150)
    def look(deltas):
        bank = folded(deltas)
        found.update(item.status for item in chain(bank.items, bank.others))
        found["merged"] += sum(bool(item.merged) for item in chain(bank.items, bank.others))
        found["pinned"] += sum(item.pinned for item in bank.items)
        found["orphans"] += len(bank.orphans)

    look()
    names = ("active", "candidate", "archived", "retired", "quarantined", "merged", "pinned", "orphans")
    assert all(found[name] >= 5 for name in names), found
