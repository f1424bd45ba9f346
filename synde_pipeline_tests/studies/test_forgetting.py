"""The study's own parts: what each method keeps of the past, and the table. Its worlds are tested in `simulation`."""

import pytest
import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.studies.forgetting import METHODS, Method, Past, table
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.training.test_train import ROWS, row

OLD = [{**one, "trace_uid": f"old:{k}"} for k, one in enumerate(ROWS * 8)]
NEW = [{**row("get_loan card done"), "trace_uid": f"new:{k}"} for k in range(8)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
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
    past.learn(tiny(), "web", [one for one in OLD for _ in range(2)], Method("replay", old=0.5))
    drawn = past.drawn(NEW, 0.5, "code")
    assert len(drawn) == 16  # as many trajectories as new ones, two sequences each
    assert len({one["trace_uid"] for one in drawn}) == 8


def test_the_table_says_value_and_error():
    cells = {"web": {"success": 0.5, "se": 0.03}, "KL to base": {"nats": 0.12345, "se": 0.002}}
    lines = table({"base": {"web": cells["web"]}, "r4, nothing": cells}).splitlines()
    assert lines[2] == "| base | 0.500 (0.030) | - |"
    assert lines[3] == "| r4, nothing | 0.500 (0.030) | 0.123 (0.002) |"
