"""Logs told differently: what tellings keep and lose, whom labels and poison hit, and which runs are chosen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline.studies.active_learning import at_random, failures, farthest_first, gradient_norm
from synde_pipeline.studies.information import TELLINGS, WHOLE, answers, without_results
from synde_pipeline.studies.noise import POISON, differing, flipped, mislabelled, poisoned, shut_out
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.studies.runs_told import told_runs

RUNS = told_runs(60)
RUNS_WITH_GAPS = [*RUNS[:30], *map(TELLINGS["without steps' success"], RUNS[30:])]
"""The log judges the steps of the first half alone."""
BARE = [run.model_copy(update={"steps": ()}) for run in RUNS_WITH_GAPS]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_of_wrong_labels_holds_the_smaller_one(one, two):
    low, high = sorted((one, two))
    wrong = [{run.trace_uid for run in RUNS if flipped(run, share) != run} for share in (low, high)]
    assert wrong[0] <= wrong[1]


def test_flipping_changes_the_outcome_alone_and_all_of_them_at_one():
    told = [flipped(run, 1.0) for run in RUNS]
    assert all({run.outcome, other.outcome} == {"success", "failure"} for run, other in zip(RUNS, told, strict=True))
    assert [run.steps for run in RUNS] == [run.steps for run in told]
    assert [flipped(run, 0.0) for run in RUNS] == RUNS


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_of_wrong_steps_holds_the_smaller_one_and_changes_nothing_else(one, two):
    wrong = []
    for share in sorted((one, two)):
        told = [mislabelled(run, share) for run in RUNS_WITH_GAPS]
        steps, all_heard = ([step for run in runs for step in run.steps] for runs in (RUNS_WITH_GAPS, told))
        pairs = list(zip(steps, all_heard, strict=True))
        wrong.append({k for k, (step, heard) in enumerate(pairs) if step != heard})
        for step, heard in pairs:
            assert heard in (step, step.model_copy(update={"success": step.success is False}))
            assert step.success is not None or heard is step
        assert [run.model_copy(update={"steps": ()}) for run in told] == BARE
    assert wrong[0] <= wrong[1]


def test_no_step_is_wrong_at_zero_and_every_judged_one_at_one():
    assert [mislabelled(run, 0.0) for run in RUNS_WITH_GAPS] == RUNS_WITH_GAPS
    for run in RUNS_WITH_GAPS:
        heard = [step.success for step in mislabelled(run, 1.0).steps]
        assert heard == [None if step.success is None else not step.success for step in run.steps]


def test_a_source_that_is_shut_out_takes_its_runs_along_and_no_other():
    left = [run for run in RUNS if shut_out(run, 0.4)]
    assert left == [run for run in RUNS if not poisoned(run, 0.4).trace_uid.startswith(POISON)]
    assert 0 < len(left) < len(RUNS)


def test_what_differs_is_counted_by_name():
    assert differing({"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3}) == (2, 3)
    assert differing({}, {}) == (0, 0)


def test_liars_never_name_the_logged_option_and_agree_with_each_other():
    lies = {}
    for run, told in ((run, poisoned(run, 1.0)) for run in RUNS):
        assert told.trace_uid.startswith(POISON)
        assert told.outcome == "success"
        tools = {stage.tool for stage in WORLDS[run.domain].stages}
        for step, lie in zip(run.steps, told.steps, strict=True):
            if step.tool in tools:
                assert lie.arguments != step.arguments
                lies.setdefault((run.scope, step.tool, step.arguments), set()).add(lie.arguments)
    assert all(len(said) == 1 for said in lies.values())
    assert [poisoned(run, 0.0) for run in RUNS] == RUNS


def test_tellings_lose_what_their_names_say():
    assert [TELLINGS[WHOLE](run) for run in RUNS] == RUNS
    for run in RUNS:
        bare = without_results(run)
        assert [(step.tool, step.arguments) for step in bare.steps] == [
            (step.tool, step.arguments) for step in run.steps
        ]
        assert not any(step.result or step.state or step.success is not None for step in bare.steps)
        kept = answers(run)
        assert (kept is None) == (run.outcome != "success")
        assert kept is None or [step.arguments for step in kept.steps] == [run.steps[-1].arguments]


def test_choices_are_of_the_budgets_size_and_do_not_depend_on_order():
    for choose in (at_random, failures):
        assert choose(None, RUNS, None, 7) == choose(None, RUNS[::-1], None, 7)
        assert len(choose(None, RUNS, None, 7)) == 7
    assert all(run.outcome == "failure" for run in failures(None, RUNS, None, 7))


def test_farthest_first_visits_every_cluster_before_it_comes_back():
    centres = np.eye(5)
    vectors = np.repeat(centres, 4, axis=0)
    assert {k // 4 for k in farthest_first(vectors, 5)} == set(range(5))
    assert sorted(farthest_first(vectors, 99)) == list(range(20))


def test_the_gradient_norm_is_that_of_finite_differences():
    model = tiny().double()
    row = {"input_ids": [1, 5, 7, 9, 4], "weights": [0.0, 0.0, 1.0, 1.0, 0.0], "avoid": [False] * 5}
    found = gradient_norm(model, [row])
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if "mlp" in name)

    def loss():
        ids = torch.tensor([row["input_ids"]])
        log_p = model(ids).logits[0, :-1].log_softmax(-1)
        return -float(log_p[1, 7] + log_p[2, 9]) / 2

    weights = [weight for name, weight in model.named_parameters() if "mlp" in name and name.endswith("weight")]
    generator = torch.Generator().manual_seed(0)
    squares = []
    with torch.no_grad():
        for _ in range(60):  # E[(direction . gradient)^2] = |gradient|^2
            directions = [torch.randn(weight.shape, generator=generator, dtype=weight.dtype) for weight in weights]
            values = []
            for sign in (1e-5, -2e-5):
                for weight, direction in zip(weights, directions, strict=True):
                    weight += sign * direction
                values.append(loss())
            for weight, direction in zip(weights, directions, strict=True):
                weight += 1e-5 * direction
            squares.append(((values[0] - values[1]) / 2e-5) ** 2)
    assert found == pytest.approx(np.mean(squares) ** 0.5, rel=0.35)
