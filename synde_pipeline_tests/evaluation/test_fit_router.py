"""Fitting a router on users' logs: only gate tasks with an adapter and memory count, and the limits are the model's."""

from datetime import timedelta

import pytest

from synde_pipeline.evaluation.fit_router import fit_by_replay
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.models.decide import Limits
from synde_pipeline.models.limits import Fitted, limits_of, read_limits, write_limits
from synde_pipeline.models.registry import champion, promote
from synde_pipeline.records import split_of
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny

GATE = [f"t{k}" for k in range(400) if split_of(f"test:library:t{k}") == "gate"]


@pytest.fixture
def served(warehouse):
    """A champion for site:a, memory of it, and gate runs there and elsewhere."""
    pin_tiny(warehouse)
    cycle, model = trained(warehouse, DAY, "site:a")
    promote(warehouse, cycle, model, "passed")
    publish_deltas(warehouse, DAY, SETTINGS.memory)
    publish_memory(warehouse, DAY)
    later = DAY + timedelta(1)
    runs = [
        trajectory(f"test:gate:{scope}:{k}", task=name, day=later, scope=scope, steps=called(*GOOD), outcome=outcome)
        for k, name in enumerate(GATE[:30])
        for scope, outcome in [("site:a", "success" if k < 24 else "failure"), ("site:elsewhere", "success")]
    ]
    land(warehouse, runs, name="gate")
    publish_raw_logs(warehouse, later)
    publish_reflections(warehouse, later)
    return warehouse


def test_successful_gate_tasks_with_both_layers_are_fitted_and_no_others(served):
    settings = SETTINGS.model_copy(update={"home": served.root.parent})
    (fitted,) = fit_by_replay(settings).values()
    assert fitted.model == champion(served).domains["library"].model
    assert 0 < fitted.n <= 24
    assert fitted.units == fitted.n  # tasks are what is independent
    for limit in (fitted.known, fitted.novel):
        assert limit is None or -1 <= limit <= 1.001


def test_limits_of_another_model_are_worth_nothing(warehouse, served):
    known = champion(served).domains
    values = {"known": 0.7, "novel": 0.2, "n": 9, "units": 9, "margin": 0.05}
    write_limits(served, {"library": Fitted(model=known["library"].model, **values)})
    assert limits_of(served, known) == {"library": Limits(0.7, 0.2)}
    write_limits(served, {"library": Fitted(model="0" * 64, **values)})
    assert limits_of(served, known) == {}
    assert read_limits(served)["library"].n == 9
