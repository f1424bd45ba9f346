"""What the gates show, and (slow) that the shipped base passes them, is small, and is what its facts say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from synde_pipeline.base_model import one_thread
from synde_pipeline.simulation.card import card
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.simulation.gates import GATES, N_TASKS, Gate, Measured, gate_places, hints, measure_gates
from synde_pipeline.simulation.tasks import held_out_tasks
from synde_pipeline.simulation.worlds.base import HELD_OUT, Place, Rules, Task
from synde_pipeline.simulation.worlds.registry import WORLDS

FACTS = json.loads((EMBEDDED_BASE / "facts.json").read_text("utf-8"))


@st.composite
def tasks(draw):
    """Any task, on days before and after its conventions drifted."""
    world = WORLDS[draw(st.sampled_from(sorted(WORLDS)))]
    rules = Rules(draw(st.integers(2, 6)), drift_day=draw(st.none() | st.integers(2, 3)))
    place = Place(world, draw(st.sampled_from(HELD_OUT)), draw(st.integers(0, 20)), rules)
    return Task(place, draw(st.sampled_from(world.things)), draw(st.integers(0, 99)), draw(st.integers(1, 4)))


def told(items):
    return {(item.title, item.content) for item in items}


def right_options(task):
    return {(stage.tool, task.place.right_option(stage, task.day)) for stage in task.stages}


# -- hints ----------------------------------------------------------------------------------------------------------


@given(tasks(), st.integers(0, 5))
def test_own_hints_are_exactly_the_tasks_right_options(task, seed):
    assert hints(task, GATES[0], seed) == ()
    shown = hints(task, GATES[1], seed)
    assert told(shown) == right_options(task)
    assert len(shown) == len(task.stages)
    for item in shown:
        assert (item.scope, item.domain, item.kind) == (task.place.scope, task.place.world.domain, "strategy")


@given(tasks(), st.integers(0, 5), st.integers(1, 7))
def test_irrelevant_hints_are_about_other_places_at_stages_of_the_task_and_wrong_here(task, seed, n_other):
    shown = hints(task, Gate("mixed", 0.5, is_upper=False, n_own=None, n_other=n_other), seed)
    own = [item for item in shown if item.scope == task.place.scope]
    others = [item for item in shown if item.scope != task.place.scope]
    assert told(own) == right_options(task)
    assert len(others) == n_other == len({item.scope for item in others})
    stages = {stage.tool: stage for stage in task.stages}
    for item in others:
        assert item.domain == task.place.world.domain
        assert item.scope.split(":")[1] in HELD_OUT
        assert item.content in stages[item.title].options
        assert (item.title, item.content) not in right_options(task)


@given(tasks(), st.data())
def test_a_part_of_the_hints_is_right_too(task, data):
    n_own = data.draw(st.integers(0, len(task.stages)))
    shown = hints(task, Gate("part", 0.5, is_upper=False, n_own=n_own), 0)
    assert len(told(shown)) == n_own
    assert told(shown) <= right_options(task)


def test_hints_come_in_random_order_that_the_seed_decides():
    task = held_out_tasks(gate_places(0), "gate", 1, day=1)[0]
    orders = {tuple(item.item_id for item in hints(task, GATES[1], seed)) for seed in range(20)}
    assert len(orders) > 5
    assert hints(task, GATES[2], 3) == hints(task, GATES[2], 3)


def test_gates_are_tried_evenly_over_places_that_pretraining_never_saw():
    found = gate_places(0)
    assert len({place.name for place in found}) == len(found)
    assert {place.name for place in found} <= set(HELD_OUT)
    domains = [place.world.domain for place in found]
    assert {domains.count(domain) for domain in WORLDS} == {len(found) // 3}
    assert gate_places(1) != found == gate_places(0)


def test_the_limit_itself_passes_and_the_wrong_side_of_it_does_not():
    upper, lower = GATES[0], GATES[1]
    passed = {
        (gate.name, value): Measured(gate, value, 0.01, value, value, 600, 120).is_passed
        for gate in (upper, lower)
        for value in (gate.limit - 0.001, gate.limit, gate.limit + 0.001)
    }
    assert list(passed.values()) == [True, True, False, False, True, True]


# -- the shipped base -----------------------------------------------------------------------------------------------


def stated():
    """The gates as `facts.json` states them."""
    return [
        Measured(Gate(**one["gate"]), **{name: value for name, value in one.items() if name not in ("gate", "passed")})
        for one in FACTS["gates"]
    ]


def test_the_shipped_card_is_made_of_the_shipped_facts():
    shipped = (EMBEDDED_BASE / "README.md").read_text("utf-8")
    assert shipped.split() == card(FACTS, stated()).split()
    assert [one.gate for one in stated()] == list(GATES)
    assert all(one.is_passed and one.n >= 500 for one in stated())


def test_the_shipped_base_is_small():
    weights = EMBEDDED_BASE / "model.safetensors"
    tokenizer = list(EMBEDDED_BASE.glob("tokenizer*"))
    assert tokenizer
    assert sum(path.stat().st_size for path in (weights, *tokenizer)) <= 4_000_000
    assert not list(EMBEDDED_BASE.glob("*.pt"))


@pytest.mark.slow
def test_the_shipped_base_passes_every_gate_as_its_facts_say():
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_BASE).eval()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_BASE)
    assert sum(parameter.numel() for parameter in model.parameters()) == FACTS["parameters"]
    with one_thread():
        found = measure_gates(model, tokenizer)
    assert [one.gate for one in found] == list(GATES)
    for one, told_before in zip(found, stated(), strict=True):
        assert one.is_passed, one.line()
        assert one.n == N_TASKS >= 500
        assert abs(one.success - told_before.success) <= 3 * max(one.se, told_before.se), one.line()
