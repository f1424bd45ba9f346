"""The doctor: a good home is well, and each planted fault is found with a remedy."""

import os

import pytest

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.doctor import examine, for_json
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.serving.keys import add_key
from synde_pipeline.settings import LlmConfig, MemoryConfig, ReflectionConfig, Settings
from synde_pipeline.storage import Warehouse, write_atomically
from synde_pipeline_tests.models_for_tests import pin_tiny


@pytest.fixture
def settings(tmp_path) -> Settings:
    made = Settings(home=tmp_path / "home", memory=MemoryConfig(embedder="hashing"))
    pin_tiny(Warehouse(made.warehouse))
    return made


def failed(settings: Settings) -> dict[str, str]:
    return {one.check: one.found for one in examine(settings) if one.state == "failed"}


def test_a_good_home_and_one_that_is_not_there_yet_are_well(settings, tmp_path):
    add_key(settings.home, "shop", None)
    assert failed(settings) == {}
    told = for_json(examine(settings))
    assert told["ok"]
    assert {"packages", "home", "disk", "base model", "embedder", "champion", "dagster", "server", "device"} <= {
        one["check"] for one in told["checks"]
    }
    assert failed(settings.model_copy(update={"home": tmp_path / "new"})) == {}


def test_a_base_that_was_changed_on_disk_is_found(settings):
    with (Warehouse(settings.warehouse).folder(BASE, "") / "config.json").open("a") as file:
        file.write(" ")
    assert "base model" in failed(settings)


def test_folders_that_others_can_read_are_found(settings):
    landing = settings.warehouse / "landing"
    landing.mkdir(mode=0o755)
    landing.chmod(0o755)
    assert "which may hold secrets" in failed(settings)["home"]


def test_a_champion_that_cannot_be_read_is_found_and_the_other_checks_go_on(settings):
    (settings.warehouse / "champion.json").write_text("{")
    found = failed(settings)
    assert "champion" in found
    assert len(examine(settings)) > 9
    assert all(one.remedy for one in examine(settings) if one.state == "failed")


def test_a_removal_that_was_not_finished_is_found(settings):
    write_atomically(active_path(Warehouse(settings.warehouse)), '{"number": 3}')
    assert "removal 0003" in failed(settings)["removal"]


def test_a_language_model_that_is_wanted_and_not_named_is_found(settings):
    wanting = settings.model_copy(update={"reflection": ReflectionConfig(engine="llm"), "llm": LlmConfig()})
    assert "none is named" in failed(wanting)["language model"]


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_home_that_cannot_be_written_is_found(settings):
    settings.home.chmod(0o500)
    assert "cannot be written" in failed(settings)["home"]
    settings.home.chmod(0o700)
