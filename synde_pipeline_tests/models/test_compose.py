"""Rules of composition on a real warehouse: what an adapter stands on, and what it leaves of the ledger."""

import pytest

from synde_pipeline.base_model import load
from synde_pipeline.models.compose import ADAPTERS, ledger_before
from synde_pipeline.models.merge import MERGED
from synde_pipeline.settings import TrainingConfig
from synde_pipeline_tests.models.test_guard import QUICK, frozen, pinned, trained

__all__ = ["pinned"]  # a fixture


def config(composition, **values):
    return TrainingConfig(composition=composition, **{**QUICK, **values})


def in_model(warehouse, cycle) -> list[str]:
    return [row["cycle"] for row in warehouse.header(MERGED, cycle.key).info["adapters"]]


def stands_on(warehouse, cycle) -> str:
    return warehouse.header(ADAPTERS, cycle.key).inputs["on_top_of"]


def test_a_joint_adapter_needs_none_before_it_and_stands_for_all(pinned):
    frozen(pinned, 0, config("joint"))  # never trained
    joint = trained(pinned, 1, config("joint", joint_rank=2))
    assert in_model(pinned, joint) == [joint.key]
    assert stands_on(pinned, joint) == "base"


def test_a_joint_adapter_replaces_the_ledger_and_the_next_one_stands_on_it_alone(pinned):
    first = trained(pinned, 0, config("sequential"))
    joint = trained(pinned, 1, config("joint"))
    after = trained(pinned, 2, config("sequential"))
    base = load(pinned).hash
    assert [entry.cycle for entry in ledger_before(pinned, joint, base)] == [first.key]
    assert [entry.cycle for entry in ledger_before(pinned, after, base)] == [joint.key]
    assert in_model(pinned, after) == [joint.key, after.key]


@pytest.mark.parametrize(("composition", "is_alone"), [("independent", True), ("sequential", False)])
def test_every_adapter_enters_the_ledger_whatever_it_was_trained_on(pinned, composition, is_alone):
    first, second = (trained(pinned, number, config(composition)) for number in range(2))
    assert in_model(pinned, second) == [first.key, second.key]
    assert (stands_on(pinned, second) == "base") is is_alone
