"""A model's contrasts of trials: a function of rows and answers (laws 1 and 2), asked for once, priced first."""

import json
import random
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.errors import LlmBudgetError, LlmError, MissingAnswerError
from synde_pipeline.llm import Llm
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.banks import bank_as_of
from synde_pipeline.memory.curate import Fold
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.edits import edit_days, quarantining, record
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.live import LiveMemory
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.sources import listening
from synde_pipeline.memory.trial_contrasts import (
    ARTEFACT,
    forget_contrasts,
    price_of_contrasts,
    publish_contrasts,
    read_advice,
)
from synde_pipeline.memory.trials import NOBODY_ASKED, Advice, chosen, key_of, sets_of
from synde_pipeline.records import Lesson
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.removal.inputs import Gone, purge_landing, rewrite_days
from synde_pipeline.settings import LlmConfig, MemoryConfig, ReflectionConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests import llm_server
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.llm_server import answers, refuses
from synde_pipeline_tests.memory.ledgers import CONFIG, EMBED, LAST, TASKS, ledgers
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, TRAIN
from synde_pipeline_tests.reflection.small_model import model, trials

LIGHT = MemoryConfig(embedder="hashing", min_tasks=1)
DAYS = [DAY + timedelta(k) for k in range(4)]


# -- the fold, with answers about every set --------------------------------------------------------------------------


def advised(deltas, most: int = 4) -> Advice:
    """An answer about every set of trials that any day of a ledger shows."""
    ledger = Ledger.of(deltas)
    found = {}
    for domain in ledger.domains.values():
        found |= sets_of(domain, most, ledger.edit_days, lambda day: listening(ledger.quarantined(day), CONFIG))
    return Advice(most, {key: (_lesson(key),) for key in found})


def spoken(deltas):
    """Rows of the first day of each uid: what a stale day repeats is for other tests."""
    first = {}
    for row in deltas:
        first[row.trace_uid] = min(row.day, first.get(row.trace_uid, row.day))
    return [row for row in deltas if row.day == first[row.trace_uid]]


def _lesson(key: str) -> Lesson:
    return Lesson(kind="strategy", scope="", title=f"do {key[:4]}", description="", content=f"Do {key}.")


def bank(deltas, advice: Advice, as_of: date = LAST, without_task: str | None = None):
    return Fold(Ledger.of(deltas), CONFIG, EMBED, advice=advice).bank(as_of, without_task)


@given(ledgers, st.integers(0, 4), st.randoms())
@settings(max_examples=40)
def test_order_repeats_and_later_days_change_nothing(deltas, day, chance):
    deltas = spoken(deltas)
    advice, as_of = advised(deltas), DAY + timedelta(day)
    known = bank(deltas, advice, as_of)
    shuffled = chance.sample(deltas, len(deltas)) + deltas[:3]
    assert bank(shuffled, advice, as_of).bank_hash == known.bank_hash
    assert bank([row for row in deltas if row.effective_day <= as_of], advice, as_of).bank_hash == known.bank_hash


@given(ledgers, st.data())
@settings(max_examples=40)
def test_leaving_a_task_out_equals_a_history_without_it(deltas, data):
    deltas = spoken(deltas)
    task, advice = data.draw(st.sampled_from(TASKS)), advised(deltas)
    rest = [row for row in deltas if row.task_id != task]
    assert bank(deltas, advice, without_task=task).bank_hash == bank(rest, advice).bank_hash


def test_without_answers_the_fold_is_what_it_was():
    runs = rows_of(*mixed(0))
    assert bank(runs, NOBODY_ASKED).bank_hash == bank(runs, Advice(4, {"other": (_lesson("other"),)})).bank_hash
    assert bank(runs, advised(runs)).bank_hash != bank(runs, NOBODY_ASKED).bank_hash


def rows_of(*runs):
    return [delta for item in runs for delta in deltas_of(reflect(item), item.day)]


def evidence(*runs):
    return sorted(row for row in Ledger.of(rows_of(*runs)).rows if row.delta.op == "EVIDENCE")


def test_a_full_set_takes_half_of_each_end_and_later_trials_leave_it_alone():
    rows = evidence(*[one(0, "success" if k % 3 else "failure", trial=k, day=DAYS[k // 3]) for k in range(12)])
    some = chosen(rows, 4)
    assert [row.delta.outcome for row in some].count("success") == 2
    assert some == chosen(rows[:-3], 4)
    assert key_of(some) == key_of(some[::-1])
    wins = [row for row in rows if row.delta.outcome == "success"]
    assert chosen(wins, 4) == chosen(rows, 1) == []
    assert len(chosen([*wins, next(row for row in rows if row not in wins)], 4)) == 4, "one failure, three successes"


# -- asked of a real endpoint ----------------------------------------------------------------------------------------


def one(task: int, outcome: str, *, trial: int = 0, day: date = DAY, source: str = "test"):
    calls = GOOD if outcome == "success" else BAD
    uid = f"{source}:{task}-{outcome}-{trial}"
    return trajectory(uid, task=TRAIN[task], outcome=outcome, trial=trial, day=day, steps=called(*calls))


def mixed(task: int, days=(DAY, DAY)):
    return [one(task, "success", day=days[0]), one(task, "failure", day=days[1])]


@pytest.fixture
def server():
    with llm_server.serving(model) as found:
        yield found


def by_llm(server, **llm) -> Settings:
    return Settings(
        llm=LlmConfig(**({"base_url": server.url, "model": "small", "pause_s": 0.001, "price_in": 1.0} | llm)),
        reflection=ReflectionConfig(engine="llm"),
        memory=LIGHT,
    )


def materialise(warehouse: Warehouse, day: date) -> None:
    """A day whose single runs are read by rules: the calls that are counted are about several."""
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day)
    publish_deltas(warehouse, day, LIGHT)
    publish_memory(warehouse, day)


def lived(warehouse: Warehouse, logs, days=DAYS, name: str = "test") -> Warehouse:
    land(warehouse, logs, name=name)
    for day in days:
        if any(item.day == day for item in logs):
            materialise(warehouse, day)
    return warehouse


def contents(warehouse: Warehouse, as_of: date = LAST) -> set[str]:
    loaded = Memory.load(warehouse, LIGHT).bank(as_of)
    assert bank_as_of(warehouse, LIGHT, as_of).bank_hash == loaded.bank_hash
    return {item.content for item in loaded.items if "Look the loan up first." in item.content}


def test_trials_are_asked_about_once_their_price_is_known_and_the_lesson_is_recalled(server, warehouse):
    lived(warehouse, [*mixed(0), *mixed(1), one(2, "success")])
    by, live = by_llm(server), LiveMemory(warehouse, LIGHT)
    assert live.current().advice == NOBODY_ASKED
    llm = Llm(warehouse, by.llm)
    price = price_of_contrasts(warehouse, by, llm)
    assert (price.calls, server.asked) == (2, [])
    header = publish_contrasts(warehouse, by, llm)
    assert llm.usage.calls == len(server.asked) == price.calls
    assert llm.usage.tokens_in + llm.usage.tokens_out <= price.tokens
    assert contents(warehouse) == {"Look the loan up first. (2 of 2 tasks)"}
    item = next(i for i in live.current().bank(LAST).items if i.content.startswith("Look the loan"))
    assert {support.trace_uid for support in item.supports} == {run.trace_uid for k in (0, 1) for run in mixed(k)}
    assert item.title in {one.title for one in live.current().recall("renew", domain="library", as_of=LAST, top_k=9)}
    assert publish_contrasts(warehouse, by, Llm(warehouse, by.llm)) == header
    assert price_of_contrasts(warehouse, by, llm).calls == 0
    assert len(server.asked) == 2


def test_any_order_of_days_gives_the_same_banks_and_a_late_trial_makes_a_new_set(server, tmp_path):
    logs = [*mixed(0, DAYS[:2]), one(0, "failure", trial=1, day=DAYS[2]), *mixed(1, DAYS[1:3])]
    banks = []
    for name, order in {"ordered": DAYS, "shuffled": random.Random(1).sample(DAYS, 4)}.items():
        warehouse = lived(Warehouse(tmp_path / name), logs, order)
        by = by_llm(server)
        publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
        banks.append([Memory.load(warehouse, LIGHT).bank(day).bank_hash for day in DAYS])
    assert banks[0] == banks[1]
    assert len(server.asked) == 2 * 3, "two days of the first task, one of the second"
    assert contents(warehouse, DAYS[0]) == set(), "its failure is not known yet"
    assert contents(warehouse, DAYS[1]) == {"Look the loan up first. (1 of 1 tasks)"}

    past = Memory.load(warehouse, LIGHT).bank(DAYS[0]).bank_hash
    late = one(0, "failure", trial=7, day=DAYS[1])
    lived(warehouse, [late], [DAYS[1]], name="late")
    assert contents(warehouse, DAYS[1]) == set(), "nobody was asked about it with the late trial"
    publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    assert contents(warehouse, DAYS[1]) == {"Look the loan up first. (1 of 1 tasks)"}
    assert Memory.load(warehouse, LIGHT).bank(DAYS[0]).bank_hash == past


def test_a_wrong_answer_is_repaired_once_and_a_failure_publishes_nothing_but_keeps_what_came(server, warehouse):
    lived(warehouse, [*mixed(0), *mixed(1)])
    by = by_llm(server, concurrency=1, attempts=2)
    server.moves += [answers("{"), answers(), refuses(429), refuses(500)]
    with pytest.raises(LlmError, match="answered 500"):
        publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    assert warehouse.header(ARTEFACT, "") is None
    assert len(server.asked) == 4
    header = publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    assert (header.counts["contrasts"], len(server.asked)) == (2, 5)
    other = by_llm(server, model="other")
    server.moves += [answers("{}"), answers(trials_without_cause())]
    with pytest.raises(LlmError, match="no valid answer"):
        publish_contrasts(warehouse, other, Llm(warehouse, other.llm.model_copy(update={"concurrency": 1})))
    assert warehouse.header(ARTEFACT, "") == header


def trials_without_cause() -> str:
    return json.dumps(trials(cause=" "))


def test_without_calls_or_money_the_table_stays_and_rules_empty_it(server, warehouse):
    lived(warehouse, mixed(0))
    by = by_llm(server)
    first = publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    lived(warehouse, mixed(1, DAYS[1:3]), name="more")
    offline = by.without_calls()
    with pytest.raises(MissingAnswerError, match="test:1-"):
        publish_contrasts(warehouse, offline, Llm(warehouse, offline.llm))
    poor = by_llm(server, max_tokens=1)
    with pytest.raises(LlmBudgetError):
        publish_contrasts(warehouse, poor, Llm(warehouse, poor.llm))
    assert warehouse.header(ARTEFACT, "") == first
    assert contents(warehouse) == {"Look the loan up first. (1 of 1 tasks)"}, "what is known works"
    rules = Settings(memory=LIGHT)
    publish_contrasts(warehouse, rules, Llm(warehouse, rules.llm))
    assert contents(warehouse) == set()
    assert publish_contrasts(warehouse, by, Llm(warehouse, by.llm)).counts["contrasts"] == 2
    assert len(server.asked) == 2


def test_where_nobody_is_to_be_asked_nothing_is_written(warehouse):
    lived(warehouse, mixed(0))
    rules = Settings(memory=LIGHT)
    assert publish_contrasts(warehouse, rules, Llm(warehouse, rules.llm)) is None
    assert read_advice(warehouse) == NOBODY_ASKED


def test_a_source_that_is_shut_out_is_in_no_set_from_then_on(server, warehouse):
    lived(warehouse, [one(0, "success"), one(0, "failure", source="forum"), one(0, "failure", trial=1)])
    record(warehouse, [quarantining("forum")])
    today = max(edit_days(warehouse))
    materialise(warehouse, today)
    by = by_llm(server)
    publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    prompts = [body["messages"][1]["content"] for body in server.asked]
    assert sorted(text.count("ended in failure") for text in prompts) == [1, 2], "as of then, and since"
    for as_of, uids in ((DAY, {"test", "forum"}), (today, {"test"})):
        items = Memory.load(warehouse, LIGHT).bank(as_of).items
        found = [i for i in items if i.content.startswith("Look the loan")]
        assert {s.trace_uid.split(":")[0] for item in found for s in item.supports} == uids


def test_what_was_said_of_a_trial_goes_with_it(server, warehouse):
    logs = [*mixed(0, DAYS[:2]), one(0, "failure", trial=1, day=DAYS[2]), *mixed(1)]
    lived(warehouse, logs)
    by = by_llm(server)
    publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    n_asked, uid = len(server.asked), logs[2].trace_uid
    gone = Gone(frozenset({uid}))
    purge_landing(warehouse, gone)
    forget_contrasts(warehouse, gone.uids)
    rewrite_days(warehouse, [str(DAYS[2])], gone, LIGHT)
    assert uid.encode() not in warehouse.table_path(ARTEFACT, "").read_bytes()
    assert contents(warehouse) == {"Look the loan up first. (2 of 2 tasks)"}
    publish_contrasts(warehouse, by, Llm(warehouse, by.llm))
    assert len(server.asked) == n_asked, "every set without it was asked about before"
