"""Prompts that go on from what was read: the same answers, and only what is new is read."""

from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.serving.engine import Engine
from synde_pipeline.serving.generation import Sampling, Slot
from synde_pipeline.serving.prefixes import Prefixes
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.serving.test_engine import Caller, bank_of, greedy

NEW = st.lists(st.integers(5, 300), min_size=1, max_size=9)
TURNS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), NEW, st.booleans()), min_size=1, max_size=8)
BEGINNING = list(range(20, 50))


@contextmanager
def running(model, **words):
    engine = Engine(model, 0, **words)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def counted(model):
    """Tokens that the model is fed, padding left out."""
    read: list[int] = []

    def count(_, __, words):
        read.append(words["input_ids"].numel())

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    yield read
    hook.remove()


def answer(engine: Engine, ids: list[int], n: int = 4, slot: Slot | None = None, **how) -> list[int]:
    caller = Caller(ids, Sampling(n, **{"temperature": 0, **how}), slot)
    engine.submit(caller.generation)
    caller.ended.result(60)
    return caller.tokens


@given(turns=TURNS, room=st.sampled_from([0, 60, 100000]))
@settings(max_examples=15, deadline=None)
def test_conversations_that_go_on_are_answered_as_if_read_anew(turns, room):
    model = tiny()
    bank = bank_of(model, 2)
    talks = [[*BEGINNING, k] for k in range(3)]
    with running(model, most_kept_tokens=room) as engine:
        for talk, which, new, is_retold in turns:
            ids = [*talks[talk], *new]
            if is_retold:  # a client that tells its history otherwise: the beginning alone is known
                ids[len(BEGINNING) + len(ids) % 7 % max(len(ids) - len(BEGINNING), 1)] = 301
            slot = Slot(bank, which) if which < 2 else None
            said = answer(engine, ids, slot=slot)
            assert said == greedy(model, ids, 4, bank, which if which < 2 else -1)
            talks[talk] = [*ids, *said]
    bank.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "gemma2"])
def test_only_what_is_new_is_read(family):
    model = tiny(family)
    with running(model, most_kept_tokens=1000) as engine, counted(model) as read:
        first = answer(engine, BEGINNING, 4)
        assert read == [len(BEGINNING), 1, 1, 1]  # the last token drawn is not read
        del read[:]
        more = [*BEGINNING, *first, 60, 61]
        assert answer(engine, more, 2) == greedy(tiny(family), more, 2)
        assert read[0] == 3  # that one, and the two that are new


def test_other_weights_have_read_nothing_and_weights_that_left_are_forgotten():
    model = tiny()
    bank = bank_of(model, 2)
    with running(model, most_kept_tokens=1000) as engine, counted(model) as read:
        answer(engine, BEGINNING, 1, Slot(bank, 0))
        for slot, n in ((None, 30), (Slot(bank, 1), 30), (Slot(bank, 0), 1), (Slot(bank, -1), 1)):
            del read[:]
            answer(engine, BEGINNING, 1, slot)
            assert read[0] == n
        engine.call(lambda: engine.forget(bank)).result(60)
        del read[:]
        answer(engine, BEGINNING, 1, Slot(bank, 0))
        assert read[0] == 30
    bank.remove()


def test_what_a_stop_took_back_is_not_taken_for_said():
    model = tiny()
    hot = {"temperature": 2.0, "seed": 1}
    with running(model, most_kept_tokens=1000) as engine:
        free = answer(engine, BEGINNING, 6, **hot)
        assert len(set(free)) == 6
        assert answer(engine, BEGINNING, 6, stops=(tuple(free[2:4]),), **hot) == free[:2]
        other = [*BEGINNING, *free[:2], 70, 71]
        assert answer(engine, other, 3) == greedy(model, other, 3)


def test_the_last_ones_used_are_kept_up_to_the_number_of_tokens():
    model = tiny()
    one, other, third = ([k, *BEGINNING] for k in (5, 6, 7))
    with running(model, most_kept_tokens=64) as engine, counted(model) as read:
        for ids, n in ((one, 31), (other, 31), (one, 1), (third, 31), (one, 1), (other, 31)):
            del read[:]
            answer(engine, ids, 1)
            assert read[0] == n


class OutOfMemory(Prefixes):
    """There is no memory for the second row."""

    n_calls = 0

    def keep(self, *row):
        self.n_calls += 1
        if self.n_calls == 2:
            raise MemoryError
        super().keep(*row)


def test_an_answer_is_whole_although_there_is_no_memory_to_keep_it_and_what_was_kept_gives_way():
    model = tiny()
    with running(model, most_kept_tokens=1000) as engine, counted(model) as read:
        engine._prefixes = OutOfMemory(1000)
        first = answer(engine, BEGINNING, 4)
        assert engine.call(lambda: engine._prefixes.n_tokens).result(60) == 33
        other = [9, *BEGINNING]
        caller = Caller(other, Sampling(3, temperature=0))
        engine.submit(caller.generation)
        assert caller.ended.result(60) == "length"
        assert caller.tokens == greedy(tiny(), other, 3)
        del read[:]
        assert answer(engine, BEGINNING, 4) == first
        assert read[0] == len(BEGINNING)  # anew: nothing was kept any more
