"""The continuous batch: everybody gets what they would get alone, and who fails or leaves costs nobody else."""

import threading
from concurrent.futures import Future

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.serving.engine import Engine
from synde_pipeline.serving.generation import Generation, Sampling, Slot
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline_tests.models_for_tests import tiny


class Caller:
    """Waits for one generation."""

    def __init__(self, ids, sampling, slot=None):
        self.tokens: list[int] = []
        self.begun = threading.Event()
        self.ended: Future = Future()
        self.generation = Generation(ids, sampling, self._token, self.ended.set_result, slot)

    def _token(self, token):
        self.tokens.append(token)
        self.begun.set()


@pytest.fixture
def engine():
    made: list[Engine] = []

    def make(model, **words):
        made.append(Engine(model, 0, **words))
        return made[-1]

    yield make
    for one in made:
        one.close()


def greedy(model, ids, n, bank=None, index=-1):
    """What the model says one token at a time, without a cache."""
    found = list(ids)
    with torch.inference_mode():
        for _ in range(n):
            if bank is None:
                logits = model(input_ids=torch.tensor([found])).logits
            else:
                with bank.routed([index]):
                    logits = model(input_ids=torch.tensor([found])).logits
            found.append(int(logits[0, -1].argmax()))
    return found[len(ids) :]


def bank_of(model, n: int) -> AdapterBank:
    bank = AdapterBank.fresh(model, n, TrainingConfig(alpha=64))
    with torch.no_grad():
        bank.table += 0.3 * torch.randn(bank.table.shape, generator=torch.Generator().manual_seed(1))
    return bank


prompts = st.lists(st.lists(st.integers(5, 300), min_size=1, max_size=12), min_size=1, max_size=7)


@given(prompts=prompts, lengths=st.lists(st.integers(1, 9), min_size=7, max_size=7), most=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_answers_beside_others_are_those_given_alone(prompts, lengths, most):
    model = tiny()
    bank = bank_of(model, 2)
    one = Engine(model, 0, most_rows=most, most_prompt_tokens=20)
    try:
        callers = [
            Caller(ids, Sampling(lengths[k], temperature=0), Slot(bank, k % 2) if k % 3 else None)
            for k, ids in enumerate(prompts)
        ]
        for caller in callers:
            one.submit(caller.generation)
        for caller in callers:
            assert caller.ended.result(60) == "length"
    finally:
        one.close()
    for k, caller in enumerate(callers):
        expected = greedy(model, prompts[k], lengths[k], bank, k % 2 if k % 3 else -1)
        assert caller.tokens == caller.generation.said == expected
    bank.remove()


@given(prompt=st.lists(st.integers(5, 300), min_size=1, max_size=5), at=st.integers(0, 25), n=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_a_stop_ends_the_answer_and_no_part_of_it_is_told(prompt, at, n):
    model = tiny()
    one = Engine(model, 0)
    try:
        free = Caller(prompt, Sampling(30, seed=1))
        one.submit(free.generation)
        assert free.ended.result(60) == "length"
        stop = tuple(free.tokens[at : at + n])
        stopped = Caller(prompt, Sampling(30, stops=((*stop, 9999), (9999, *stop), stop), seed=1))
        one.submit(stopped.generation)
        assert stopped.ended.result(60) == "stop"
    finally:
        one.close()
    first = next(k for k in range(31) if tuple(free.tokens[k : k + len(stop)]) == stop)
    assert stopped.tokens == stopped.generation.said == free.tokens[:first]


def test_equal_seeds_draw_equal_answers_and_top_p_narrows_to_the_likeliest(engine):
    model = tiny()
    one = engine(model)

    def said(**words):
        caller = Caller([5, 6, 7], Sampling(12, **words))
        one.submit(caller.generation)
        caller.ended.result(60)
        return caller.tokens

    assert said(seed=1) == said(seed=1) != said(seed=2)
    assert said(seed=3, top_p=1e-6) == greedy(model, [5, 6, 7], 12)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.0, 1.0, 2.0, -30.0])
    generation = Generation([], Sampling(1, temperature=0.5, seed=0), lambda _: None, lambda _: None)
    drawn = torch.tensor([generation.draw(logits) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares.double(), (logits.double() / 0.5).softmax(-1), atol=0.03, rtol=0)


def test_who_goes_away_makes_room_and_who_comes_late_is_served(engine):
    model = tiny()
    one = engine(model, most_rows=1)
    first = Caller([5, 6], Sampling(400, temperature=0))
    one.submit(first.generation)
    assert first.begun.wait(60)
    second = Caller([7, 8], Sampling(3, temperature=0))
    one.submit(second.generation)
    first.generation.is_cancelled = True
    assert first.ended.result(60) == "cancelled"
    assert second.ended.result(60) == "length"
    assert second.tokens == greedy(model, [7, 8], 3)


def test_a_request_that_the_model_cannot_take_fails_alone(engine):
    model = tiny()
    one = engine(model)
    good = Caller([5, 6], Sampling(200, temperature=0))
    one.submit(good.generation)
    assert good.begun.wait(60)
    bad = Caller([10**6], Sampling(5))  # no token of the vocabulary
    one.submit(bad.generation)
    assert isinstance(bad.ended.result(60), IndexError)
    assert good.ended.result(60) == "length"
    assert good.tokens == greedy(model, [5, 6], 200)


def test_work_on_the_model_is_done_between_two_tokens_and_its_errors_are_the_callers(engine):
    model = tiny()
    one = engine(model)
    writing = Caller([5, 6], Sampling(300, temperature=0))
    one.submit(writing.generation)
    banks = [one.call(lambda: bank_of(model, 1)).result(60) for _ in range(3)]
    for bank in banks:
        one.call(bank.remove).result(60)
    with pytest.raises(ZeroDivisionError):
        one.call(lambda: 1 // 0).result(60)
    writing.ended.result(60)
    assert writing.tokens == greedy(model, [5, 6], 300)


def test_closing_cancels_what_runs_and_what_waits_and_takes_nothing_new():
    one = Engine(tiny(), 0, most_rows=1)
    callers = [Caller([5, 6], Sampling(10**6)) for _ in range(3)]
    for caller in callers:
        one.submit(caller.generation)
    assert callers[0].begun.wait(60)
    one.close()
    assert [caller.ended.result(0) for caller in callers] == ["cancelled"] * 3
    with pytest.raises(RuntimeError):
        one.submit(callers[0].generation)
