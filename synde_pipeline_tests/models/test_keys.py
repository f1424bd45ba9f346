"""Keys in the warehouse: beside each cycle's adapters, of the tasks it was trained on; what a bank makes of them."""

import json
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest
import torch

from synde_pipeline.base_model import load
from synde_pipeline.memory.embed import get_embedder, pinned_name
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.bank import candidate_bank, keys_of, load_bank, router_of
from synde_pipeline.models.compose import ADAPTERS, add_adapters
from synde_pipeline.models.keys import read_keys
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.registry import promote
from synde_pipeline.models.route import Asked, keys_by_domain
from synde_pipeline.settings import ModelsConfig
from synde_pipeline.storage import read_json
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.daily import SHARDS
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.models.test_bank import IDS, ROUTED, _pinned, trained  # noqa: F401 - pytest finds the fixture
from synde_pipeline_tests.models_for_tests import tiny


def keys_in(warehouse, cycle):
    folder = warehouse.folder(ADAPTERS, cycle.key)
    return read_keys(folder, read_json(folder / "bank.json"))


def test_a_key_holds_the_tasks_of_its_own_group_old_and_new_and_of_no_anchor(warehouse):
    trained(warehouse, DAY, "site:a", "site:b", "site:c")
    second, _ = trained(warehouse, DAY + timedelta(1), "site:a", "site:d")
    keys = keys_in(warehouse, second)
    assert {name: set(key.scopes) for name, key in keys.items()} == {
        "g00": {"site:a", "site:b"},
        "g01": {"site:c", "site:d"},
    }
    texts = get_embedder("hashing").embed([f"please do {TRAIN[k]}" for k in range(2)])
    for key in keys.values():
        assert key.embedder == pinned_name("hashing")
        assert len(key.vectors) == 4  # two tasks on each of two sites; the second day tried the same ones again
        assert (key.vectors @ texts.T).max(1) == pytest.approx(1.0, abs=1e-3)


def test_a_bank_stores_what_its_keys_can_tell_apart_and_its_router_uses_the_same(warehouse):
    first, model = trained(warehouse, DAY, "site:a", "site:b", "site:c")
    promote(warehouse, first, model, "passed")
    second, model = trained(warehouse, DAY + timedelta(1), "site:a")
    rows = candidate_bank(warehouse, second, load(warehouse).hash)
    keys = keys_of(warehouse, rows)
    owners = {scope: rows[index].cycle for index, (_, key) in keys.items() for scope in key.scopes}
    assert owners == {scope: row.cycle for row in rows for scope in row.scopes}
    stored = read_json(warehouse.folder(MERGED, second.key) / "routing.json")
    evidence = keys_by_domain(keys)["library"].evidence()
    assert stored["library"]["embedder"] == pinned_name("hashing")
    assert stored["library"]["rates"] == evidence.rates(ModelsConfig().route_error)
    assert stored["library"]["evidence"] == json.loads(json.dumps(asdict(evidence)))
    assert merge_cycle(warehouse, second) == model
    # Three sites are too few to route by text, whatever the settings say.
    router = router_of(warehouse, rows, ModelsConfig(route="nearest"))
    assert router.routes([Asked("library", "", f"please do {TRAIN[0]}")])[0].reason == "unknown"


def test_adapters_without_keys_are_reached_by_scope_and_another_embedder_trains_again(warehouse):
    cycle, _ = trained(warehouse, DAY, "site:a")
    shard = warehouse.header(SHARDS, cycle.key)
    unknown = {name: value for name, value in shard.info.items() if name != "embedder"}
    warehouse.publish_table(shard.model_copy(update={"info": unknown}), warehouse.read_table(SHARDS, cycle.key))
    _, is_new = train_cycle(warehouse, cycle, ROUTED)
    assert is_new
    assert keys_in(warehouse, cycle) == {}
    base = load(warehouse)
    bank = load_bank(warehouse, base.model, candidate_bank(warehouse, cycle, base.hash), ModelsConfig(route="nearest"))
    assert [route.index for route in bank.routes([Asked("library", "site:a"), Asked("library", "", "please")])] == [
        0,
        -1,
    ]


def test_of_two_thousand_resident_adapters_each_row_uses_its_own_as_if_it_were_alone():
    model = tiny().double()
    n = 2000
    bank = AdapterBank(model, n, rank=1, scale=16.0)
    table = torch.randn(bank.table.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 24
    bank.table = torch.nn.Parameter(table)
    rng = np.random.default_rng(0)
    route = [int(index) for index in rng.integers(0, n, 12)]
    route[2] = route[7] = -1
    route[5] = n - 1
    batch = torch.randint(8, 300, (12, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), bank.routed(route):
        found = model(batch).logits
    with torch.inference_mode():
        plain = tiny().double()(batch).logits
        for k, index in enumerate(route):
            if index < 0:
                assert torch.equal(found[k], plain[k])
            else:
                alone = add_adapters(tiny().double(), [(bank.weights(index), 1.0)])
                assert torch.allclose(found[k], alone(batch[k : k + 1]).logits[0], atol=1e-10)
                assert not torch.allclose(found[k], plain[k], atol=1e-4)
    bank.remove()
    assert torch.equal(model(IDS).logits, tiny().double()(IDS).logits)
