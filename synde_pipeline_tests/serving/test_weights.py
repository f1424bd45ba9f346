"""Versions on the engine's model: each answers as its own model would, and is gone when nobody uses it."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch

from synde_pipeline.base_model import load
from synde_pipeline.errors import LineageError
from synde_pipeline.models.bank import champion_bank, load_bank
from synde_pipeline.models.merge import served_model
from synde_pipeline.models.overrule import carry_out, rollback
from synde_pipeline.models.registry import champion, promote
from synde_pipeline.models.route import Asked
from synde_pipeline.serving.engine import Engine
from synde_pipeline.serving.generation import Sampling
from synde_pipeline.serving.versions import BASE, base_version, champion_version, past_versions, version_named
from synde_pipeline.serving.weights import Weights
from synde_pipeline.settings import ModelsConfig, TrainingConfig
from synde_pipeline.storage import write_atomically
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.serving.test_engine import Caller, greedy

PROMPT = [9, 10, 11, 12]
SEQUENTIAL = SETTINGS.model_copy(update={"training": TrainingConfig(composition="sequential", max_steps=4)})


@pytest.fixture
def served(warehouse):
    """A bank of two cycles in `library`, one merged model in `archive`."""
    pin_tiny(warehouse)
    for day in (DAY, DAY + timedelta(1)):
        cycle, model = trained(warehouse, day, "site:a", "site:b", "site:c")
        promote(warehouse, cycle, model, "passed")
    cycle, model = trained(warehouse, DAY + timedelta(2), "site:a", domain="archive", config=SEQUENTIAL)
    promote(warehouse, cycle, model, "passed")
    return warehouse


@pytest.fixture
def weights(served):
    base = load(served)
    engine = Engine(base.model, 0)
    yield Weights(served, base, engine, ModelsConfig())
    engine.close()


@contextmanager
def acquired(weights: Weights, version):
    loaded = weights.acquire(version)
    yield loaded
    loaded.release()


def said(weights: Weights, version, domain: str, scope: str) -> tuple[str, list[int]]:
    with acquired(weights, version) as loaded:
        picked = loaded.pick(Asked(domain, scope, "please"))
        caller = Caller(PROMPT, Sampling(6, temperature=0), picked.slot)
        weights.engine.submit(caller.generation)
        caller.ended.result(60)
        return picked.name, caller.tokens


def n_hooks(model) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_every_domain_answers_as_its_own_champion_would(weights, served):
    now = champion_version(champion(served))
    model = load(served).model
    bank = load_bank(served, model, champion_bank(served, weights.base.hash))
    for scope in ("site:a", "site:c", "site:unknown", ""):
        name, tokens = said(weights, now, "library", scope)
        index = bank.router.route("library", scope).index
        assert tokens == greedy(model, PROMPT, 6, bank.adapters, index)
        assert bool(name) == (index >= 0)
    bank.adapters.remove()
    name, tokens = said(weights, now, "archive", "site:a")
    assert name == "archive-0001"
    merged = served_model(served, champion(served).domains["archive"])
    assert tokens == greedy(merged, PROMPT, 6)
    assert said(weights, now, "elsewhere", "") == ("", greedy(load(served).model, PROMPT, 6))


def test_versions_are_listed_with_their_parents_and_answer_by_name(weights, served):
    known = champion(served)
    names = [version.name for version in past_versions(served, known)]
    assert names == ["synde:archive-0001", "synde:library-0002", "synde:library-0001"]
    parents = {version.name: version.lineage["parent"] for version in past_versions(served, known)}
    assert parents["synde:library-0002"] == "synde:library-0001"
    assert parents["synde:library-0001"] is None
    first = version_named(served, known, "synde:library-0001")
    assert [item["cycle"] for item in first.lineage["adapters"]] == ["library-0001"]
    assert said(weights, first, "library", "site:a")[0] == "library-0001/g00"
    assert said(weights, base_version(), "library", "site:a")[0] == ""
    assert version_named(served, known, BASE).served == {}
    assert version_named(served, known, "synde:library-0009") is None
    carry_out(served, rollback(served, "library"), "worse")
    assert "synde:library-0002" not in [version.name for version in past_versions(served, champion(served))]


def test_a_version_stays_while_it_is_used_and_leaves_the_model_untouched_after(weights, served):
    now = champion_version(champion(served))
    before = n_hooks(weights.base.model)
    first, again = weights.acquire(now), weights.acquire(now)
    assert first is again
    held = n_hooks(weights.base.model)
    assert held > before
    weights.release(first)
    weights.engine.call(lambda: None).result(10)
    assert n_hooks(weights.base.model) == held
    weights.release(again)
    weights.engine.call(lambda: None).result(10)
    assert n_hooks(weights.base.model) == before
    ids = torch.tensor([PROMPT])
    assert torch.equal(weights.base.model(ids).logits, load(served).model(ids).logits)


def test_an_adapter_that_is_not_the_accepted_one_is_not_served(weights, served):
    path = served.path("adapters", "library-0002") / "current.json"
    write_atomically(path, path.read_bytes().replace(b'"content_hash": "', b'"content_hash": "0'))
    before = n_hooks(weights.base.model)
    with pytest.raises(LineageError):
        weights.acquire(champion_version(champion(served)))
    assert n_hooks(weights.base.model) == before
