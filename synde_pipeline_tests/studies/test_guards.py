"""Guards against forgetting: what each keeps of the past. Its penalties and projections are tested in `training`."""

import pytest
import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.studies.guards import METHODS, Method, Past
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.training.test_train import ROWS, row

OLD = [{**one, "trace_uid": f"old:{k}"} for k, one in enumerate(ROWS * 8)]
NEW = [{**row("get_loan card done"), "trace_uid": f"new:{k}"} for k in range(8)]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_guards_what_was_learned_and_nothing_before(method):
    model, past = tiny(), Past()
    first = past.guarded(model, method)
    assert (first.penalty, first.after_step) == (None, None)
    assert past.drawn(NEW, method.old, "web") == []
    past.learn(model, "web", OLD, method)
    past.learn(model, "code", OLD, method)
    run = past.guarded(model, method)
    bank = AdapterBank.fresh(model, 1, TrainingConfig(rank=2))
    with torch.no_grad():
        bank.table.add_(0.01)
    before = bank.table.detach().clone()
    if method.guard == "null space":
        run.after_step(bank)
        assert not torch.equal(bank.table, before)
    elif method.guard == "none":
        assert (run.penalty, run.after_step) == (None, None)
    else:
        assert float(run.penalty(bank).detach()) > 0


def test_old_logs_are_drawn_as_whole_trajectories():
    past = Past()
    past.learn(tiny(), "web", [one for one in OLD for _ in range(2)], Method(old=0.5))
    drawn = past.drawn(NEW, 0.5, "code")
    assert len(drawn) == 16  # as many trajectories as new ones, two sequences each
    assert len({one["trace_uid"] for one in drawn}) == 8
