"""Many requests at once: the budget, the bound of concurrency, and what is left after an error."""

import threading

import pytest

from synde_pipeline.errors import InputError, LlmBudgetError, LlmError
from synde_pipeline_tests.llm.colours import GOOD, Colour, request
from synde_pipeline_tests.llm_server import answers, refuses, sleeps, truncates


def test_no_call_is_made_that_could_exceed_the_budget(server, ask_with):
    llm = ask_with(max_tokens=3000)
    most = llm.price(request("000"))
    assert most.calls == 1
    assert 1024 < most.tokens < 3000
    with pytest.raises(LlmBudgetError, match="budget of 3000 tokens"):
        [llm.ask(request(f"{k:03}")) for k in range(100)]
    spent = llm.usage.tokens_in + llm.usage.tokens_out
    assert 3000 - most.tokens < spent <= 3000
    assert llm.usage.calls == len(server.asked) == spent / 120
    assert ask_with(max_tokens=1).ask(request("000")) == Colour(name="000")  # it is there already


def test_money_is_a_budget_too_and_calls_in_flight_count(server, ask_with):
    prices = {"price_in": 10.0, "price_out": 1000.0, "max_output_tokens": 100, "concurrency": 8}
    most = ask_with(**prices).price(request("0")).cost
    assert most > 0.1
    llm = ask_with(*[sleeps(0.2)] * 2, **prices, max_cost=2.5 * most)
    with pytest.raises(LlmBudgetError, match="in flight"):
        llm.each(llm.ask, [request(str(k)) for k in range(8)])
    assert len(server.asked) == 2
    with pytest.raises(InputError, match="max_cost without a price"):
        ask_with(max_cost=1.0)


@pytest.mark.parametrize("move", [truncates(), sleeps(0.5)], ids=["truncated", "slow"])
def test_what_may_have_been_billed_is_counted_as_the_most_it_can_be(server, ask_with, move):
    llm = ask_with(move, timeout_s=0.2)
    most = llm.price(request())
    llm.ask(request())
    assert llm.usage.tokens_in + llm.usage.tokens_out == most.tokens + 120


def test_a_server_that_does_not_say_what_it_used_is_counted_as_the_most(server, ask_with):
    llm = ask_with(answers(GOOD, usage=None))
    most = llm.price(request())
    llm.ask(request())
    assert llm.usage.tokens_in + llm.usage.tokens_out == most.tokens


def test_so_many_requests_are_in_flight_and_no_more_and_answers_keep_their_order(server, ask_with):
    llm = ask_with(*[sleeps(0.02)] * 30, concurrency=3)
    found = llm.each(llm.ask, [request(str(k)) for k in range(30)])
    assert [colour.name for colour in found] == [str(k) for k in range(30)]
    assert server.most_in_flight == 3


def test_after_an_error_what_came_is_kept_and_the_next_run_goes_on(server, ask_with):
    requests = [request(str(k)) for k in range(20)]
    llm = ask_with(*[answers()] * 6, refuses(401), concurrency=2)
    with pytest.raises(LlmError):
        llm.each(llm.ask, requests)
    asked = len(server.asked)
    assert asked <= 9
    again = ask_with()
    missing = [one for one in requests if again.price(one).calls]
    assert len(missing) == 20 - (asked - 1)
    again.each(again.ask, requests)
    assert len(server.asked) == asked + len(missing)


def test_a_failure_ends_the_pauses_of_the_others(server, ask_with):
    llm = ask_with(refuses(429, Retry_After="50"), sleeps(0.2, refuses(401)), concurrency=2)
    done = threading.Event()

    def work() -> None:
        with pytest.raises(LlmError):
            llm.each(llm.ask, [request("1"), request("2")])
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20)
