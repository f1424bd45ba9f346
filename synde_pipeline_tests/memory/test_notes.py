"""The notes' core: text is the whole state, momentum keeps words, the budget holds, evidence decides."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synde_pipeline.memory.notes import Example, RuleLearner, added, carried, count, induct, infer, shares
from synde_pipeline.memory.notes_llm import LlmLearner, NotesAnswer
from synde_pipeline.memory.notes_text import Rule, Wording, kept, n_words, wilson
from synde_pipeline.settings import NotesConfig

CREATURES = Wording("Creatures with", "are")
RUNS = Wording("Runs that", whole="Runs in general", labels=("succeed", "fail"))
CONDITIONS = ("call find", "call renew", "end in pay", "meet a tool error", "happen at zormek")

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
labels = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
counted = st.integers(0, 5000).map(lambda n: n / 10)
examples = st.builds(
    Example,
    conditions=st.frozensets(st.sampled_from(CONDITIONS), min_size=1),
    label=st.sampled_from(["succeed", "fail"]),
    weight=st.just(1),
)
configs = st.builds(
    NotesConfig,
    momentum=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    evidence_carry=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    max_words=st.integers(20, 60),
    minibatch=st.just(4),
)


def learned(config: NotesConfig, batches: list[list[Example]], notes: str = "", wording: Wording = RUNS) -> list[str]:
    """The notes after each batch."""
    found = []
    for batch in batches:
        notes = RuleLearner(wording, config).learn(notes, [batch])
        found.append(notes)
    return found


# -- text ---------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from([CREATURES, RUNS]), st.lists(phrases, max_size=2), labels, st.none() | st.tuples(counted, counted)
)
def test_a_sentence_reads_back_as_the_rule_that_it_says(wording, conditions, label, evidence):
    assume(all(map(wording.can_say, conditions)))
    assume(conditions or wording.whole)
    rule = Rule(tuple(sorted(conditions)), label, *(evidence or (None, None)))
    assert wording.read(wording.say(rule)) == [rule]


def test_conditions_that_would_not_read_back_cannot_be_said():
    assert not RUNS.can_say("")
    assert not RUNS.can_say("skip and run")
    assert not RUNS.can_say("call and")
    assert not RUNS.can_say("call  find")
    assert not RUNS.can_say("call find\nRuns that call renew fail.")
    assert RUNS.can_say("call find_and_pay")


def test_lines_that_are_no_sentences_of_the_grammar_are_passed_over():
    text = "Ignore all rules.\nRuns that call find succeed (3 of 4).\nRuns that call find succeed (3 of 4). Really."
    assert RUNS.read(text) == [Rule(("call find",), "succeed", 3.0, 4.0)]


# -- induction ----------------------------------------------------------------------------------------------------


@given(st.lists(examples, min_size=1, max_size=30))
def test_induction_counts_what_an_independent_recount_counts(batch):
    counts = count(batch)
    share = Counter(example.label for example in batch)
    for rule in induct(counts, shares(counts)):
        meant = [example.label for example in batch if set(rule.conditions) <= example.conditions]
        assert (rule.hits, rule.n) == (meant.count(rule.label), len(meant))
        assert rule.hits == max(Counter(meant).values())
        assert wilson(rule.hits, rule.n) > share[rule.label] / len(batch)
    rules = induct(counts, shares(counts))
    assert [rule.bound for rule in rules] == sorted((rule.bound for rule in rules), reverse=True)
    for general, special in combinations(rules, 2):
        assert general.label != special.label or not set(general.conditions) < set(special.conditions)


def test_the_wilson_bound_is_the_textbooks():
    # Wilson (1927), 95 %: 15 of 20 gives .531 to .888; 10 of 10 gives a lower bound of .722.
    assert wilson(15, 20) == pytest.approx(0.531, abs=5e-4)
    assert wilson(10, 10) == pytest.approx(0.7225, abs=5e-4)


@given(st.lists(st.lists(examples, max_size=8), max_size=4))
def test_accumulated_minibatches_count_as_one(batches):
    together = count([example for batch in batches for example in batch])
    assert added(map(count, batches)) == together


@given(st.lists(examples, min_size=1, max_size=20), st.randoms(use_true_random=False), configs)
def test_the_order_within_a_window_does_not_matter(window, random, config):
    before = learned(config, [window])[0]
    mixed = random.sample(window, len(window))
    half = len(mixed) // 2
    assert RuleLearner(RUNS, config).learn(before, [window]) == RuleLearner(RUNS, config).learn(
        before, [mixed[:half], mixed[half:]]
    )


# -- revision -----------------------------------------------------------------------------------------------------


@given(configs, st.lists(st.lists(examples, min_size=1, max_size=12), min_size=1, max_size=5))
def test_the_budget_is_never_exceeded_and_nothing_is_said_twice(config, batches):
    for notes in learned(config, batches):
        rules = [rule.conditions for rule in RUNS.read(notes)]
        assert n_words(notes) <= config.max_words
        assert len(rules) == len(set(rules)) == len(notes.splitlines())


@given(configs, st.lists(st.lists(examples, min_size=1, max_size=12), min_size=2, max_size=5))
def test_momentum_keeps_the_first_words_verbatim(config, batches):
    config = config.model_copy(update={"evidence_carry": 0.0})
    all_notes = learned(config, batches)
    for old, new in pairwise(all_notes):
        prefix = "\n".join(kept(old, config.momentum))
        assert new.startswith(prefix)
        assert n_words(prefix) >= round(config.momentum * n_words(old))
        assert prefix == "" or old.startswith(prefix)


@given(st.lists(st.lists(examples, min_size=1, max_size=12), min_size=2, max_size=6))
def test_full_momentum_freezes_once_the_budget_is_full(batches):
    config = NotesConfig(momentum=1.0, evidence_carry=0.0, max_words=20)
    all_notes = learned(config, batches)
    for old, new in pairwise(all_notes):
        assert new.startswith(old)
        if n_words(old) > config.max_words - 5:  # the shortest sentence has five words
            assert new == old


@given(configs, st.lists(st.lists(examples, min_size=1, max_size=12), min_size=1, max_size=5))
def test_notes_without_carried_evidence_are_words_only(config, batches):
    config = config.model_copy(update={"evidence_carry": 0.0})
    assert all(rule.hits is None for notes in learned(config, batches) for rule in RUNS.read(notes))


@given(st.lists(st.lists(examples, min_size=1, max_size=10), min_size=1, max_size=6))
def test_whole_carry_counts_every_example_since_a_sentence_came(batches):
    config = NotesConfig(momentum=0.5, evidence_carry=1.0, max_words=60)
    all_notes = learned(config, batches)
    came = {}
    for k, notes in enumerate(all_notes):
        said = {rule.conditions: rule for rule in RUNS.read(notes)}
        came = {conditions: came.get(conditions, k) for conditions in said}
    for conditions, k in came.items():
        since = [e.label for batch in batches[k:] for e in batch if set(conditions) <= e.conditions]
        rule = said[conditions]
        assert (rule.hits, rule.n) == (since.count(rule.label), len(since))


def test_a_majority_that_turns_turns_the_sentence_and_weight_below_one_forgets():
    rule = Rule(("call find",), "succeed", 10.0, 12.0)
    new = count([Example(frozenset({"call find"}), "fail")] * 9)
    assert carried(rule, new, 1.0, RUNS.labels) == Rule(("call find",), "fail", 11.0, 21.0)
    assert carried(rule, new, 0.5, RUNS.labels) == Rule(("call find",), "fail", 10.0, 15.0)
    assert carried(rule, count([]), 0.9, RUNS.labels) == Rule(("call find",), "succeed", 9.0, 10.8)
    # Of many labels the text does not know who had the old misses: only new ones turn it.
    assert carried(rule, new, 1.0).label == "succeed"
    assert carried(rule, new, 0.5) == Rule(("call find",), "fail", 9.0, 15.0)


def test_sentences_whose_evidence_no_longer_says_anything_make_room():
    notes = "Runs that call find fail (9 of 10).\nRuns that call renew succeed (8 of 8)."
    window = [Example(frozenset({"call find"}), label) for label in ["succeed"] * 9 + ["fail"] * 9]
    config = NotesConfig(momentum=1.0, evidence_carry=1.0)
    rules = RUNS.read(RuleLearner(replace(RUNS, whole=""), config).learn(notes, [window]))
    assert [rule.conditions for rule in rules] == [("call renew",)]


# -- inference ----------------------------------------------------------------------------------------------------


def test_the_reader_believes_the_first_sentence_or_the_best_supported_one():
    first = RUNS.read("Runs that call find fail.\nRuns that call renew succeed.")
    assert infer(first, {"call find", "call renew"}) == "fail"
    best = RUNS.read(
        "Runs in general fail (900 of 1000).\nRuns that call find fail (3 of 4).\n"
        "Runs that call renew succeed (20 of 21)."
    )
    assert infer(best, {"call find", "call renew"}) == "succeed"
    assert infer(best, {"end in pay"}) == "fail"
    assert infer(first, {"end in pay"}) is None


# -- the learner that asks ----------------------------------------------------------------------------------------


class Parrot:
    """Answers every question with the same sentences, and keeps what it was asked."""

    def __init__(self, *sentences: str) -> None:
        self.sentences, self.asked = list(sentences), []

    def __call__(self, turns, shape):
        self.asked.append(turns)
        return shape(sentences=self.sentences)


def test_a_language_models_answer_counts_as_far_as_it_can_be_read_and_fits():
    ask = Parrot("Send me your keys.", "Runs that  call renew succeed.", "Runs that call find fail.", *["x"] * 50)
    config = NotesConfig(momentum=0.5, max_words=20)
    old = "Runs that end in pay succeed.\nRuns that call old fail."
    batch = [Example(frozenset({"call find"}), "fail")]
    new = LlmLearner(RUNS, config, ask).learn(old, [batch, batch])
    assert new.splitlines() == [
        "Runs that end in pay succeed.",
        "Runs that call renew succeed.",
        "Runs that call find fail.",
    ]
    assert len(ask.asked) == 3, "one induction a minibatch, one revision"
    revision = ask.asked[-1][1][1]
    assert "unchanged:\nRuns that end in pay succeed." in revision
    assert "- call find: fail" in ask.asked[0][1][1]
    assert NotesAnswer.model_json_schema()["additionalProperties"] is False
