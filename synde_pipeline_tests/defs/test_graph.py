"""The asset graph as Dagster loads it: keys and edges as a golden, what every node shows, and what import costs."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from synde_pipeline.definitions import defs
from synde_pipeline.defs.automation import DAILY_ASSETS, FOLDS
from synde_pipeline.defs.partitions import daily, one_run
from synde_pipeline.studies.registry import STUDIES

ROOT = Path(__file__).resolve().parents[2]

EDGES = {
    "raw_logs": set(),
    "reflections": {"raw_logs"},
    "memory_deltas": {"reflections"},
    "curated_memory": {"memory_deltas"},
    "trial_contrasts": {"curated_memory"},
    "notes": {"reflections"},
    "memory_audit": {"curated_memory"},
    "training_examples": {"raw_logs", "reflections"},
    "training_buffer": {"training_examples"},
    "base_model": {"training_examples", "curated_memory"},
    "training_shards": {"training_buffer", "curated_memory", "base_model"},
    "adapters": {"training_shards", "base_model"},
    "merged_models": {"adapters", "base_model"},
    "eval_reports": {"merged_models", "curated_memory"},
    "promoted_model": {"eval_reports"},
    **{f"studies/{name}": set() for name in STUDIES},
    "claims": {f"studies/{name}" for name in STUDIES},
}

GROUPS = ("logs", "reflection", "memory", "training", "models", "evaluation", "studies")

HEAVY = ("torch", "transformers", "peft", "lancedb")

LIGHT_IMPORTS = {
    "definitions": "import synde_pipeline.definitions; synde_pipeline.definitions.defs().resolve_asset_graph()",
    "cli": "import synde_pipeline.cli",
    "run": "import synde_pipeline.defs.run",
    "landing": "import synde_pipeline.logs.landing",
    "rules": "import synde_pipeline.reflection.rules",
    "records": "import synde_pipeline.records",
}


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    return defs()


def _python(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with a Dagster home of its own."""
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        timeout=300,
        check=False,
    )


def test_the_asset_graph_has_these_keys_and_edges(loaded):
    graph = loaded.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert found == EDGES


def test_every_asset_shows_its_group_its_owner_and_what_it_is(loaded):
    graph = loaded.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert {node.group_name for node in nodes} == set(GROUPS)
    assert [node.key for node in nodes if not node.owners or not node.description or not node.kinds] == []
    daily = {node.key for node in nodes if node.tags["cadence"] == "daily"}
    assert daily == {asset.key for asset in DAILY_ASSETS}  # what the README tells people to select for a backfill


def test_schedule_and_sensor_run_by_default_and_say_what_they_do(loaded):
    automations = [*loaded.schedules, *loaded.sensors]
    assert {one.name for one in automations} == {"daily_schedule", "cycle_sensor"}
    assert all(one.description and one.default_status.value == "RUNNING" for one in automations)


def test_data_flows_through_the_groups_in_one_direction(loaded):
    graph = loaded.resolve_asset_graph()
    stage = {key: GROUPS.index(graph.get(key).group_name) for key in graph.get_all_asset_keys()}
    assert [key for key in stage for parent in graph.get(key).parent_keys if stage[parent] > stage[key]] == []


def test_every_check_says_what_it_compares(loaded):
    specs = [check for assets in loaded.asset_checks or [] for check in assets.check_specs]
    assert len(specs) >= 7
    assert [spec.name for spec in specs if not spec.description] == []


def test_all_daily_assets_share_one_partitions_object_so_a_backfill_is_one_run():
    assert all(asset.partitions_def is daily for asset in DAILY_ASSETS)
    assert all(asset.backfill_policy == one_run for asset in DAILY_ASSETS)
    assert one_run == dg.BackfillPolicy.single_run()


def test_the_jobs_hold_the_daily_chain_and_one_training_cycle(loaded):
    graph = loaded.resolve_asset_graph()
    daily_names = {asset.key.to_user_string() for asset in [*DAILY_ASSETS, *FOLDS]} | {"memory_audit"}
    studies = {f"studies/{name}" for name in STUDIES} | {"claims"}
    cycle_names = set(EDGES) - daily_names - studies
    for job, names in {"daily_chain": daily_names, "training_cycle": cycle_names}.items():
        selected = loaded.resolve_job_def(job).asset_layer.selected_asset_keys
        assert {key.to_user_string() for key in selected} == names
        assert selected <= graph.get_all_asset_keys()


def test_dagster_accepts_the_definitions(home):
    result = _python("-m", "dagster", "definitions", "validate", "-m", "synde_pipeline.definitions", home=home)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", LIGHT_IMPORTS)
def test_importing_loads_no_model_library(name, home):
    code = f"{LIGHT_IMPORTS[name]}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    result = _python("-W", "ignore", "-c", code, home=home)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
