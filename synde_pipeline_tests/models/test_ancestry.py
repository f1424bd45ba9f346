"""Lineage walks from a trajectory to the champion and back, and files say what made them."""

from datetime import timedelta

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import publish
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.models.ancestry import Node, graph_of, lineage, lineage_table
from synde_pipeline.models.merge import MERGED
from synde_pipeline.settings import MemoryConfig, Settings, TrainingConfig
from synde_pipeline.storage import files_hash, read_json
from synde_pipeline_tests.evaluation.test_report import report
from synde_pipeline_tests.helpers import DAY, gate
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models.test_cycle import cycle_on
from synde_pipeline_tests.models_for_tests import pin_tiny

MEMORY = MemoryConfig(embedder="hashing", min_tasks=1)
OLD = f"library-{DAY}:site:a:0"
NEW = f"library-{DAY + timedelta(1)}:site:a:0"


@pytest.fixture
def champion(warehouse):
    """Two routed cycles of one place; the second replays the first, and is served."""
    pin_tiny(warehouse)
    for k in range(2):
        cycle, model = trained(warehouse, DAY + timedelta(k), "site:a", "site:b", "site:c")
        publish_deltas(warehouse, DAY + timedelta(k), MEMORY)
        publish_memory(warehouse, DAY + timedelta(k))
        publish(
            warehouse,
            cycle.key,
            report() | {"gate": gate(warehouse, passed=True)},
            {MERGED: model.content_hash},
        )
        decide(warehouse, cycle, model.inputs["base_model"])
    return cycle


def flat(nodes, way):
    for node in nodes:
        yield node
        yield from flat(node[way], way)


def names(nodes, way):
    return {f"{node['artefact']}[{node['key']}]": node["relation"] for node in flat(nodes, way)}


def test_a_trajectory_leads_to_the_champion_by_every_path_and_to_nothing_it_is_not_in(warehouse, champion):
    found = lineage(warehouse, OLD, MEMORY)
    assert (found["id"], found["kind"], found["up"]) == (f"trajectories[{OLD}]", "trajectories", [])
    down = names(found["down"], "down")
    assert down["cycles[library-0001]"] == "claimed by"
    assert "replayed in" in {n["relation"] for n in flat(found["down"], "down") if n["artefact"] == "training_shards"}
    assert {"adapters[library-0002]", "merged_models[library-0002]", "eval_reports[library-0002]"} <= set(down)
    assert down["champion[library]"] == "served as"
    assert {f"raw_logs[{DAY}]", f"training_examples[{DAY}]", f"curated_memory[{DAY}]"} <= set(down)
    assert "cycles[library-0002]" not in down
    assert any(name.startswith("memory_items[") for name in down)
    assert "adapters[library-0001]" not in names(lineage(warehouse, NEW, MEMORY)["down"], "down")


def test_the_champion_leads_back_to_every_trajectory_and_day_it_learned_from(warehouse, champion):
    found = lineage(warehouse, "champion[library]", MEMORY)
    up = names(found["up"], "up")
    uids = {f"library-{DAY + timedelta(k)}:site:{name}:{n}" for k in range(2) for name in "abc" for n in range(2)}
    assert {name[13:-1] for name in up if name.startswith("trajectories[")} == uids
    assert {"base_model[]", f"raw_logs[{DAY + timedelta(1)}]", f"training_examples[{DAY + timedelta(1)}]"} <= set(up)
    assert found["down"] == []


def test_ids_are_uids_items_cycles_artefacts_and_starts_of_hashes_and_stay_the_same(warehouse, champion):
    graph = graph_of(warehouse, MEMORY)
    item = next(node.key for node in graph.hashes if node.artefact == "memory_items")
    adapter = warehouse.header("adapters", "library-0002")
    for name, node in (
        (OLD, Node("trajectories", OLD)),
        (item, Node("memory_items", item)),
        (item[:12], Node("memory_items", item)),
        ("library-0002", Node("cycles", "library-0002")),
        ("adapters[library-0002]", Node("adapters", "library-0002")),
        (adapter.content_hash[:10], Node("adapters", "library-0002")),
        ("base_model", Node("base_model", "")),
    ):
        assert graph.find(name) == node
    assert lineage(warehouse, OLD, MEMORY) == lineage(warehouse, OLD, MEMORY)
    for nobody in ("nobody", "adapters[library-0009]", adapter.content_hash[:3]):
        with pytest.raises(InputError, match="is the name of nothing"):
            graph.find(nobody)


def test_folders_carry_base_tokenizer_version_settings_and_seed_outside_their_content_hash(warehouse, champion):
    base = warehouse.header("base_model", "")
    for artefact in ("adapters", "merged_models", "eval_reports"):
        folder = warehouse.folder(artefact, champion.key)
        about = read_json(folder / "lineage.json")
        assert about["inputs"] == warehouse.header(artefact, champion.key).inputs
        assert about["base"]["hash"] == base.content_hash
        assert len(about["base"]["tokenizer_hash"]) == 64
        assert about["code_version"]
    about = read_json(warehouse.folder("adapters", champion.key) / "lineage.json")
    assert TrainingConfig.model_validate(about["settings"]) == SETTINGS.training
    assert about["seed"] == SETTINGS.training.seed
    folder = warehouse.folder("adapters", champion.key)
    assert files_hash(folder, without=["lineage.json"]) == warehouse.header("adapters", champion.key).content_hash
    settings = warehouse.header("training_shards", champion.key).info["settings"]
    assert Settings.model_validate(settings).training == SETTINGS.training


def test_the_table_of_an_adapter_names_what_it_stands_on(warehouse):
    pin_tiny(warehouse)
    for k, name in enumerate(("one", "two")):
        cycle_on(warehouse, DAY + timedelta(k), name)
    rows = {
        (row["relation"], row["artefact"], row["key"]) for row in lineage_table(warehouse, "adapters", "library-0002")
    }
    assert rows == {
        ("on the base", "base_model", ""),
        ("trained on", "training_shards", "library-0002"),
        ("trained on top of", "adapters", "library-0001"),
    }
