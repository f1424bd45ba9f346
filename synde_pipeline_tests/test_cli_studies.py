"""`synde study`: what it lists, what it refuses, and the registry behind it."""

import json

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.storage import read_json
from synde_pipeline.studies.registry import STUDIES, Claim, about, artefact_of, run_study, study_of
from synde_pipeline_tests.helpers import synde


def coins(folder, *, quick=False):
    """A study with numbers of its own."""
    (folder / "report.json").write_text("[1, 2]" if quick else "[1, 2, 3]", "utf-8")
    yield Claim(
        id="coins.fair", source="ours", claim="coins are fair", measured=0.5, error=(0.4, 0.6), n=2 if quick else 3,
        verdict="not shown", command="synde study coins",
    )  # fmt: skip


@pytest.fixture
def coins_study(monkeypatch):
    monkeypatch.setitem(STUDIES, "coins", f"{__name__}:coins")


@pytest.mark.parametrize("name", STUDIES)
def test_every_registered_study_is_there_and_says_what_it_is_about(name):
    assert callable(study_of(name))
    assert about(name).endswith((".", ":"))


def test_without_a_name_the_studies_are_listed(home):
    assert "notes" in synde("study", home=home).stdout
    listed = json.loads(synde("study", "--json", home=home).stdout)["studies"]
    assert {row["name"] for row in listed} == set(STUDIES)
    assert not (home / "warehouse").exists()


def test_an_unknown_study_is_refused_by_name(home):
    result = synde("study", "nonsense", home=home, check=False)
    assert result.returncode == 2
    assert "no study is called 'nonsense'; expected blockrank or notes" in result.stderr
    with pytest.raises(InputError):
        study_of("nonsense")


def test_claims_lie_beside_the_studys_files_and_a_new_run_replaces_them(warehouse, coins_study):
    claims, header = run_study(warehouse, "coins")
    folder = warehouse.folder(artefact_of("coins"), "")
    assert folder.parent == warehouse.root / "studies" / "coins"
    assert read_json(folder / "claims.json") == [claim.model_dump(mode="json") for claim in claims]
    assert read_json(folder / "report.json") == [1, 2, 3]
    assert run_study(warehouse, "coins")[1] == header
    run_study(warehouse, "coins", quick=True)
    assert not folder.exists()
    assert read_json(warehouse.folder(artefact_of("coins"), "") / "report.json") == [1, 2]


def test_a_study_that_fails_leaves_the_last_ones_files(warehouse, coins_study, monkeypatch):
    run_study(warehouse, "coins")
    before = warehouse.folder(artefact_of("coins"), "")
    monkeypatch.setitem(STUDIES, "coins", f"{__name__}:broken")
    with pytest.raises(ZeroDivisionError):
        run_study(warehouse, "coins")
    assert warehouse.folder(artefact_of("coins"), "") == before
    assert [path.name for path in before.parent.iterdir() if path.is_dir()] == [before.name]


def broken(folder, *, quick=False):
    """A study that fails half way."""
    (folder / "report.json").write_text("half", "utf-8")
    return 1 / 0
