"""Laws of examples and their sequences: what cleaning may cut, what weighs, and one sequence for all steps of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import PromptConfig, TrainingConfig
from synde_pipeline.training.examples import examples_of, turns_of
from synde_pipeline.training.shards import token_weights
from synde_pipeline.training.weights import signals_of
from synde_pipeline_tests.helpers import called, trajectories, trajectory
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.models_for_tests import tokenizer

CREDITS = [TrainingConfig(credit="outcome"), TrainingConfig(credit="step")]
credits = pytest.mark.parametrize("config", CREDITS, ids=["outcome", "step"])


@st.composite
def judged_runs(draw):
    """Runs of few tools, judged at random: attempts and their repairs are frequent."""
    kinds = draw(
        st.lists(
            st.tuples(st.sampled_from(["find", "renew"]), st.sampled_from([True, False, None])), min_size=3, max_size=7
        )
    )
    calls = [(tool, {"k": draw(st.integers(0, 2))}, f"result {k}", success) for k, (tool, success) in enumerate(kinds)]
    outcome = draw(st.sampled_from(["success", "failure", "partial", "unknown"]))
    return trajectory(task=TRAIN[0], outcome=outcome, steps=called(*calls))


runs = trajectories() | judged_runs() | judged_runs()
ENCODER = PromptEncoder(tokenizer(), PromptConfig(window=8192))


def cleaned(item, config):
    signals = signals_of(item, reflect(item), config)
    return signals, turns_of(examples_of(item, reflect(item), config))


@credits
@given(runs)
def test_cleaning_keeps_every_imitated_step_in_order_and_no_cut_one(config, item):
    signals, turns = cleaned(item, config)
    if not turns:  # another split, or nothing to learn
        return
    assert [turn.index for turn in turns] == [k for k, signal in enumerate(signals) if signal != "repaired"]
    assert [(turn.tool, turn.arguments) for turn in turns] == [
        (step.tool, step.arguments) for step, signal in zip(item.steps, signals, strict=True) if signal != "repaired"
    ]


@credits
@given(runs)
def test_what_is_cut_leads_to_an_imitated_call_of_its_tool_that_sees_what_the_first_attempt_saw(config, item):
    signals, turns = cleaned(item, config)
    states = {turn.index: turn.state for turn in turns}
    for k, signal in enumerate(signals):
        begins = signal == "repaired" and (k == 0 or signals[k - 1] != "repaired" or item.steps[k - 1].success)
        if begins:
            assert item.steps[k].success is False
            mended = next(later for later in range(k, len(signals)) if signals[later] != "repaired")
            assert {item.steps[j].tool for j in range(k, mended + 1)} == {item.steps[k].tool}
            assert signals[mended] == "imitate"
            assert not any(item.steps[j].success for j in range(k, mended))
            assert not turns or states[mended] == item.steps[k].state
        elif signal != "repaired" and turns and (k == 0 or signals[k - 1] != "repaired"):
            assert states[k] == item.steps[k].state


@credits
@given(runs)
def test_exactly_what_is_imitated_or_avoided_weighs(config, item):
    for row in examples_of(item, reflect(item), config):
        meta = row["metadata"]
        assert (meta["contrastive_weight"] == 0) == (meta["signal"] in ("context", "repaired"))
        if meta["signal"] == "avoid":
            assert meta["contrastive_weight"] == config.weight_failure


@credits
@given(runs, st.booleans())
def test_only_reasoning_and_actions_of_what_is_imitated_and_the_avoided_action_are_targets(
    config, item, arguments_only
):
    _, turns = cleaned(item, config)
    by_index = {turn.index: turn for turn in turns}
    for window in ENCODER.windows(item.domain, item.task, [], turns):
        weights, avoid = token_weights(window, turns, arguments_only=arguments_only)
        allowed = {}
        for span in window.targets:
            signal = by_index[span.index].signal
            if signal == "imitate":
                allowed |= dict.fromkeys((*range(*span.reasoning), *range(*span.action)), False)
            elif signal == "avoid":
                allowed |= dict.fromkeys(range(*span.action), True)
        for k, weight in enumerate(weights):
            assert weight == 0 or allowed[k] == avoid[k]
            assert weight > 0 or not avoid[k]


@credits
@given(runs)
def test_one_sequence_teaches_what_one_example_a_step_teaches_and_each_prompt_is_a_prefix_of_it(config, item):
    _, turns = cleaned(item, config)
    windows = ENCODER.windows(item.domain, item.task, [], turns)
    assert len(windows) == bool(turns)
    found = []
    for window in windows:
        weights, avoid = token_weights(window, turns)
        found = [row for row in zip(window.ids, weights, avoid, strict=True) if row[1]]
        alone = []
        for k, turn in enumerate(turns):
            (one,) = ENCODER.windows(item.domain, item.task, [], turns[: k + 1])
            span = one.targets[-1]
            assert span.index == turn.index
            assert window.ids[: len(one.ids)] == one.ids  # prompt and target
            one.targets[:] = [span]
            alone += [row for row in zip(one.ids, *token_weights(one, turns), strict=True) if row[1]]
        assert found == alone
