"""The audit as an asset: numbers and a picture for Dagster's pages, and a check for each fault."""

from datetime import date

import dagster as dg

from synde_pipeline.defs.audit import memory_audit
from synde_pipeline.defs.resources import Synde
from synde_pipeline.memory.audit.report import FAULTS
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.settings import Settings
from synde_pipeline_tests.memory.test_audit import (  # noqa: F401 - a fixture
    clean,
    plant_contradictions,
    plant_recall_loops,
    plant_secrets,
)
from synde_pipeline_tests.memory.test_store import CONFIG


def audited(warehouse) -> tuple[dict, dict[str, dg.AssetCheckEvaluation]]:
    settings = Settings(home=warehouse.root.parent, memory=CONFIG)
    result = dg.materialize([memory_audit], resources={"synde": Synde(overrides=settings.model_dump(mode="json"))})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    return dict(event.step_materialization_data.materialization.metadata), checks


def test_a_clean_memory_passes_every_check_and_shows_its_growth(clean):  # noqa: F811
    metadata, checks = audited(clean)
    assert set(checks) == set(FAULTS)
    assert all(check.passed for check in checks.values())
    assert metadata["findings"].value == 0
    assert metadata["tokens"].value > 0
    assert "data:image/svg+xml" in metadata["trend"].value


def test_faults_fail_their_checks_and_no_other(clean):  # noqa: F811
    plant_contradictions(clean)
    plant_secrets(clean)
    _, checks = audited(clean)
    assert {name for name, check in checks.items() if not check.passed} == {"contradictions", "secrets"}
    assert checks["secrets"].severity == dg.AssetCheckSeverity.ERROR
    assert checks["contradictions"].severity == dg.AssetCheckSeverity.WARN
    assert "`synde audit` says why" in checks["contradictions"].metadata["findings"].value


def test_dagsters_history_which_no_removal_rewrites_gets_ids_and_neither_texts_nor_uids(clean):  # noqa: F811
    for plant in (plant_contradictions, plant_secrets, plant_recall_loops):
        plant(clean)
    metadata, checks = audited(clean)
    told = str([metadata, *(check.metadata for check in checks.values())])
    bank = Memory.load(clean, CONFIG).bank(date.max)
    items = [*bank.items, *bank.others]
    assert any(item.item_id in told for item in items)
    assert [item.title for item in items if item.title in told] == []
    assert [uid for item in items for uid in (s.trace_uid for s in item.supports) if uid in told] == []
