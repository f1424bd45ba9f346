"""Settings come from the home's own file and from the environment, which is stronger; nonsense is refused by name."""

import json

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.settings import ENVIRONMENT, PRESETS, SETTINGS_FILE, Settings, load, with_overrides
from synde_pipeline.simulation.demo import defaults, laboratory


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    """Only this test's home is set."""
    for name in (*ENVIRONMENT, "SYNDE_TRAINING_PRESET"):
        if name != "SYNDE_HOME":
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stored(home):
    """Writes the home's file."""

    def write(value):
        home.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        (home / SETTINGS_FILE).write_bytes(text.encode("utf-8") if isinstance(text, str) else text)

    return write


def test_a_home_without_a_file_has_the_defaults(home):
    assert load() == Settings(home=home)


def test_the_file_of_a_home_is_read_and_leaves_the_rest_at_its_defaults(home, stored):
    stored({"memory": {"top_k": 7}, "simulation": {"seed": 3}, "base_model": "some/where"})
    found = load()
    assert (found.memory.top_k, found.simulation.seed, found.base_model) == (7, 3, "some/where")
    assert (found.home, found.buffer, found.memory.embedder) == (home, Settings().buffer, "minilm")


def test_what_a_laboratory_writes_is_what_is_loaded_in_its_home(tmp_path, monkeypatch):
    placed = laboratory(tmp_path, defaults(3).model_copy(update={"training": PRESETS["paper"]}))
    monkeypatch.setenv("SYNDE_HOME", str(placed.home))
    assert load() == placed


def test_the_environment_is_stronger_than_the_file(home, stored, monkeypatch):
    stored({"home": "elsewhere", "memory": {"top_k": 7, "min_tasks": 5}, "training": {"epochs": 3, "rank": 4}})
    monkeypatch.setenv("SYNDE_TOP_K", "2")
    monkeypatch.setenv("SYNDE_TRAINING_EPOCHS", "6")
    monkeypatch.setenv("SYNDE_BASE_MODEL", "other/base")
    found = load()
    assert (found.memory.top_k, found.training.epochs, found.base_model) == (2, 6, "other/base")
    assert (found.memory.min_tasks, found.training.rank) == (5, 4)  # what the environment leaves alone stays
    assert found.home == home


def test_an_empty_variable_says_nothing(stored, monkeypatch):
    stored({"memory": {"top_k": 7}})
    monkeypatch.setenv("SYNDE_TOP_K", "")
    assert load().memory.top_k == 7


def test_a_preset_of_the_environment_is_stronger_than_the_file_and_weaker_than_a_variable(tmp_path, monkeypatch):
    placed = laboratory(tmp_path, defaults(3))  # its file holds every knob of the training
    monkeypatch.setenv("SYNDE_HOME", str(placed.home))
    monkeypatch.setenv("SYNDE_TRAINING_PRESET", "paper")
    assert load().training == PRESETS["paper"]
    monkeypatch.setenv("SYNDE_TRAINING_EPOCHS", "9")
    assert load().training == PRESETS["paper"].model_copy(update={"epochs": 9})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        b"\xff\xfe",
        '{"surprise": 1}',
        '{"memory": {"top_k": -1}}',
        '{"memory": null}',
        '{"simulation": {"n_facts": 9}}',
    ],
)
def test_a_file_that_holds_no_settings_is_refused_by_its_path(home, stored, text):
    stored(text)
    with pytest.raises(InputError, match="holds no settings") as caught:
        load()
    assert str(home / SETTINGS_FILE) in str(caught.value)
    assert "mend or remove the file" in str(caught.value)


def test_a_folder_in_the_files_place_is_refused_too(home):
    (home / SETTINGS_FILE).mkdir(parents=True)
    with pytest.raises(InputError, match="holds no settings"):
        load()


@pytest.mark.parametrize("value", ["-1", "many"])
def test_a_variable_out_of_its_range_is_named(monkeypatch, value):
    monkeypatch.setenv("SYNDE_TOP_K", value)
    with pytest.raises(InputError, match=f"SYNDE_TOP_K is '{value}'"):
        load()


def test_an_unknown_preset_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("SYNDE_TRAINING_PRESET", "papre")
    with pytest.raises(InputError, match="'papre'; expected default or paper or world"):
        load()


def test_overrides_change_single_knobs_and_replace_what_is_no_group_of_knobs(stored):
    stored({"memory": {"top_k": 7, "trust": {"mine": 1, "*": 0.1}}})
    found = with_overrides(load(), {"memory": {"min_tasks": 5, "trust": {"served": 1}}, "base_model": None})
    assert (found.memory.top_k, found.memory.min_tasks) == (7, 5)
    assert found.memory.trust == {"served": 1}
    assert with_overrides(load(), {}) == load()


def test_all_settings_as_overrides_are_these_settings_whatever_the_home_says(stored):
    given = defaults(3).model_copy(update={"training": PRESETS["paper"]})
    stored({"memory": {"top_k": 7, "trust": {"mine": 1}}, "base_model": "some/where"})
    assert with_overrides(load(), given.model_dump(mode="json")) == given


@pytest.mark.parametrize("changes", [{"memory": {"topk": 3}}, {"memory": {"top_k": -1}}, {"nonsense": 1}])
def test_an_override_that_is_no_setting_is_refused_by_name(changes):
    with pytest.raises(InputError, match=r"the override (memory\.top_?k|nonsense)"):
        with_overrides(load(), changes)


@pytest.mark.parametrize("changes", [5, "top_k", ["memory"]])
def test_overrides_that_are_no_settings_by_name_are_refused(changes):
    with pytest.raises(InputError, match="settings by name"):
        with_overrides(load(), changes)
