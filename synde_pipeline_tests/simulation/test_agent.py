"""The agent: lockstep equals one by one, the log is what was acted, hints and adapters reach their rows alone."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from synde_pipeline.base_model import load_folder
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import INVALID
from synde_pipeline.settings import PromptConfig, SimulationConfig, TrainingConfig
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.simulation.worlds.base import ANSWER
from synde_pipeline.storage import Header
from synde_pipeline.training.bank import AdapterBank

CONFIG = SimulationConfig(seed=4, places=12)
TASKS = held_out_tasks(places(CONFIG, 1), "report", 24, day=1)
ALL_HINTS = [Assignment(task, hints(task, GATES[1], 0)) for task in TASKS]


@pytest.fixture(scope="module")
def base():
    return load_folder(Path(EMBEDDED_BASE), Header(artefact="base_model", key="", content_hash="x"))


@pytest.fixture(scope="module")
def encoder(base):
    return PromptEncoder(base.tokenizer, PromptConfig())


def agent(base, encoder, **words):
    return Agent(base.model, base.tokenizer, encoder, **words)


def test_lockstep_is_one_by_one(base, encoder):
    """In float64, so that batch shapes cannot tip a draw."""
    model = load_folder(Path(EMBEDDED_BASE), base.header).model.double()
    mixed = [Assignment(task, row.memory[: k % 5]) for k, (task, row) in enumerate(zip(TASKS, ALL_HINTS, strict=True))]
    acting = Agent(model, base.tokenizer, encoder, seed=3)
    together = acting.act(mixed)
    assert together == [acting.act([one])[0] for one in mixed]
    assert len({len(run.turns) for run in together}) > 1  # rows of different length shared the batch


def test_what_is_logged_is_token_by_token_what_was_acted(base, encoder):
    """At temperature 0 every agent token must be the model's likeliest one when the log is read back."""
    runs = agent(base, encoder, temperature=0).act(ALL_HINTS)
    n_tokens = 0
    for run, row in zip(runs, ALL_HINTS, strict=True):
        turns = [_Indexed(k, turn) for k, turn in enumerate(run.turns)]
        (window,) = encoder.windows(row.task.place.world.domain, row.task.text, row.memory, turns)
        with torch.inference_mode():
            likeliest = base.model(torch.tensor([window.ids])).logits[0].argmax(-1)
        for span in window.targets:
            for start, end in (span.reasoning, span.action):
                assert likeliest[start - 1 : end - 1].tolist() == window.ids[start:end]
                n_tokens += end - start
    assert n_tokens > 500


class _Indexed:
    def __init__(self, index, turn):
        self.index, self.state, self.reasoning = index, turn.state, turn.reasoning
        self.tool, self.arguments = turn.tool, turn.arguments


def test_seed_and_temperature_decide_what_is_drawn(base, encoder):
    rows = [Assignment(task) for task in TASKS]
    first = agent(base, encoder, seed=1).act(rows)
    assert agent(base, encoder, seed=1).act(rows) == first
    assert agent(base, encoder, seed=2).act(rows) != first


def test_hints_help_and_are_counted(base, encoder):
    without = agent(base, encoder).act([Assignment(task) for task in TASKS])
    shown = agent(base, encoder).act(ALL_HINTS)
    assert sum(run.is_success for run in shown) > sum(run.is_success for run in without) + 8
    assert all(run.n_context_tokens == 1 + 6 * 4 for run in shown)  # the marker, and six tokens an item
    assert all(run.n_context_tokens == 0 for run in without)
    assert [run.shown for run in shown] == [tuple(item.item_id for item in row.memory) for row in ALL_HINTS]


def test_the_environment_decides_and_turns_carry_its_answers(base, encoder):
    for run in agent(base, encoder).act(ALL_HINTS):
        last = run.turns[-1]
        assert run.is_success == (last.tool == ANSWER and last.arguments == run.task.value)
        assert [turn.state for turn in run.turns[1:]] == [turn.result for turn in run.turns[:-1]]
        assert run.turns[0].state == f"start {run.task.stages[0].tool}"


def test_each_row_goes_through_its_own_adapter(base, encoder):
    config = TrainingConfig(alpha=64.0)
    model = load_folder(Path(EMBEDDED_BASE), base.header).model.double()
    plain = Agent(model, base.tokenizer, encoder).act(ALL_HINTS)
    bank = AdapterBank.fresh(model, 1, config)
    bank.table.data = torch.randn(bank.table.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half = [Assignment(row.task, row.memory, k % 2 - 1) for k, row in enumerate(ALL_HINTS)]
    mixed = Agent(model, base.tokenizer, encoder, routed=bank.routed).act(half)
    bank.remove()
    assert mixed[::2] == plain[::2]  # adapter -1: the base alone
    assert all(a.turns != b.turns for a, b in zip(mixed[1::2], plain[1::2], strict=True))


def test_a_turn_without_a_tool_is_logged_as_invalid_and_costs_a_step(base, encoder):
    """A model that only ever repeats one token writes no turn; every episode still ends."""
    model = load_folder(Path(EMBEDDED_BASE), base.header).model
    with _saying(model, base.tokenizer.get_vocab()["kettle"]):
        runs = agent_of(model, base, encoder).act([Assignment(task) for task in TASKS[:3]])
    for run in runs:
        assert len(run.turns) == run.task.budget
        assert {turn.tool for turn in run.turns} == {INVALID}
        assert not run.is_success


def agent_of(model, base, encoder):
    return Agent(model, base.tokenizer, encoder)


@contextmanager
def _saying(model, token):
    def forced(_module, _inputs, logits):
        logits[..., token] = 1e4
        return logits

    handle = model.get_output_embeddings().register_forward_hook(forced)
    try:
        yield
    finally:
        handle.remove()
