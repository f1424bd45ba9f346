"""Days of reflections without Dagster: who read them, what is kept, what is stale, what a removal leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError, LlmError, MissingAnswerError
from synde_pipeline.lineage import check_inputs
from synde_pipeline.llm import Llm, purge_answers
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.records import Reflection
from synde_pipeline.reflection.daily import (
    RULE,
    load_reflections,
    price_of_day,
    publish_reflections,
    reflect_again,
    reflect_as_then,
    stale_reflections,
)
from synde_pipeline.reflection.reflector import rule_hash
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import LlmConfig, ReflectionConfig, Settings
from synde_pipeline_tests import llm_server
from synde_pipeline_tests.defs.small import train_logs
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.llm_server import answers, refuses
from synde_pipeline_tests.reflection.small_model import model

LOGS = [
    *train_logs(DAY, 4),
    trajectory("test:u", task="t10", outcome="unknown", steps=called(("renew", {"card": 1}, "renewed", True))),
]


@pytest.fixture
def server(warehouse):
    land(warehouse, LOGS)
    publish_raw_logs(warehouse, DAY)
    with llm_server.serving(model) as found:
        yield found


def by_llm(server, *, second_look: bool = False, **llm) -> Settings:
    return Settings(
        llm=LlmConfig(**({"base_url": server.url, "model": "small", "pause_s": 0.001} | llm)),
        reflection=ReflectionConfig(engine="llm", judge="llm", second_look=second_look),
    )


def rows(warehouse) -> dict[str, Reflection]:
    return {item.trace_uid: item for item in load_reflections(warehouse, DAY)}


def data(warehouse) -> bytes:
    return warehouse.table_path("reflections", str(DAY)).read_bytes()


@pytest.mark.parametrize("second_look", [False, True])
def test_the_price_is_the_calls_that_are_made_and_no_less_tokens(server, warehouse, second_look):
    settings = by_llm(server, second_look=second_look)
    llm = Llm(warehouse, settings.llm)
    price = price_of_day(warehouse, DAY, settings, llm)
    publish_reflections(warehouse, DAY, settings, llm)
    assert price.calls == llm.usage.calls == len(server.asked) == (11 if second_look else 6)
    bytes_sent = sum(len(m["content"].encode()) for body in server.asked for m in body["messages"])
    assert bytes_sent < price.tokens
    assert price_of_day(warehouse, DAY, settings, llm).calls == 0
    assert {item.confidence for item in rows(warehouse).values()} == {0.8 if second_look else 0.6}


def test_answers_that_came_before_a_failure_lower_the_price(server, warehouse):
    settings = by_llm(server, concurrency=1, second_look=True)
    server.moves += [*[answers()] * 5, refuses(401)]
    with pytest.raises(LlmError, match="401"):
        publish_reflections(warehouse, DAY, settings)
    assert warehouse.header("reflections", str(DAY)) is None
    assert price_of_day(warehouse, DAY, settings, Llm(warehouse, settings.llm)).calls == 11 - 5


def test_a_day_read_again_is_the_same_bytes_and_asks_nothing(server, warehouse):
    settings = by_llm(server)
    publish_reflections(warehouse, DAY, settings)
    first = data(warehouse)
    publish_reflections(warehouse, DAY, settings)
    publish_reflections(warehouse, DAY, settings.without_calls())
    assert data(warehouse) == first
    assert len(server.asked) == 6


def test_held_out_tasks_are_read_by_rules_because_nothing_learns_from_them(server, warehouse):
    held_out = [trajectory("test:gate", task="t1"), trajectory("test:report", task="t0", outcome="unknown")]
    land(warehouse, held_out)
    publish_raw_logs(warehouse, DAY)
    assert price_of_day(warehouse, DAY, by_llm(server), Llm(warehouse, LlmConfig())).calls == 0
    publish_reflections(warehouse, DAY, by_llm(server))
    assert {item.engine for item in rows(warehouse).values()} == {"rules"}
    assert rows(warehouse)["test:report"].label_source == "judge"
    assert server.asked == []


def test_rules_ask_nobody_and_need_no_endpoint(warehouse):
    land(warehouse, LOGS)
    publish_raw_logs(warehouse, DAY)
    assert publish_reflections(warehouse, DAY).counts["judged"] == 0
    rules = Settings(reflection=ReflectionConfig(judge="rules"))
    assert publish_reflections(warehouse, DAY, rules).counts["judged"] == 1
    assert not (warehouse.root / "llm_cache").exists()


@given(st.sampled_from(["rules", "llm"]), st.sampled_from(["off", "rules", "llm"]), st.integers(4, 50), st.booleans())
def test_what_makes_days_stale_is_what_answers_follow(engine, judge, max_steps, second_look):
    config = ReflectionConfig(engine=engine, judge=judge, max_steps=max_steps, second_look=second_look)
    one = Settings(reflection=config, llm=LlmConfig(model="a"))
    asks = "llm" in (engine, judge)
    other = one.model_copy(update={"llm": LlmConfig(model="b")})
    where = one.model_copy(update={"llm": LlmConfig(model="a", base_url="http://x/v1", max_cost=1, price_in=2)})
    longer = one.model_copy(update={"reflection": config.model_copy(update={"max_steps": max_steps + 1})})
    assert (rule_hash(one) != rule_hash(other)) == (rule_hash(one) != rule_hash(longer)) == asks
    assert rule_hash(one) == rule_hash(where) == rule_hash(one.without_calls())


def test_a_day_is_stale_where_others_read_it_or_its_logs_changed(server, warehouse):
    settings = by_llm(server)
    assert stale_reflections(warehouse, settings) == [str(DAY)]
    header = publish_reflections(warehouse, DAY, settings)
    assert stale_reflections(warehouse, settings) == []
    assert stale_reflections(warehouse, Settings()) == [str(DAY)]
    with pytest.raises(LineageError, match="materialise reflections"):
        check_inputs(header, {RULE: rule_hash(Settings())})
    land(warehouse, [trajectory("test:late", task="t11")], name="late")
    publish_raw_logs(warehouse, DAY)
    assert stale_reflections(warehouse, settings) == [str(DAY)]


def test_without_calls_a_day_with_new_logs_stays_as_it_is(server, warehouse):
    settings = by_llm(server)
    publish_reflections(warehouse, DAY, settings)
    before = data(warehouse)
    land(warehouse, [trajectory("test:late", task="t11")], name="late")
    publish_raw_logs(warehouse, DAY)
    with pytest.raises(MissingAnswerError):
        publish_reflections(warehouse, DAY, settings.without_calls())
    assert data(warehouse) == before


def test_after_logs_went_a_day_is_what_it_would_have_been_without_them(server, warehouse, tmp_path):
    settings = by_llm(server)
    publish_reflections(warehouse, DAY, settings)
    asked = len(server.asked)
    land(warehouse, LOGS[1:])
    publish_raw_logs(warehouse, DAY)
    assert purge_answers(warehouse, {LOGS[0].trace_uid}) == 1
    reflect_again(warehouse, DAY)
    after = data(warehouse)
    assert LOGS[0].trace_uid not in rows(warehouse)
    assert stale_reflections(warehouse, settings) == []
    assert len(server.asked) == asked
    assert not any(LOGS[0].trace_uid.encode() in path.read_bytes() for path in warehouse.root.rglob("llm_cache/*/*"))
    publish_reflections(warehouse, DAY, settings)
    assert data(warehouse) == after


def test_after_logs_went_from_a_day_with_unread_ones_the_rest_stays_and_the_day_is_stale(server, warehouse):
    settings = by_llm(server)
    publish_reflections(warehouse, DAY, settings)
    before = rows(warehouse)
    land(warehouse, [*LOGS[1:], trajectory("test:unread", task="t11")])
    publish_raw_logs(warehouse, DAY)
    reflect_again(warehouse, DAY)
    assert rows(warehouse) == {item.trace_uid: before[item.trace_uid] for item in LOGS[1:]}
    assert stale_reflections(warehouse, settings) == [str(DAY)]


def test_old_contents_are_read_as_their_day_was(server, warehouse):
    settings = by_llm(server)
    publish_reflections(warehouse, DAY, settings)
    found = rows(warehouse)
    assert {uid: reflect_as_then(warehouse, item) for uid, item in ((i.trace_uid, i) for i in LOGS)} == found
    never_read = trajectory("test:other", task="t11")
    assert reflect_as_then(warehouse, never_read) == reflect(never_read)
    asked = len(server.asked)
    assert asked == 6
