"""`synde study`: what it lists, what it refuses, and the runs and registry behind it."""

import json

import dagster as dg
import pytest

from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.run import run
from synde_pipeline.defs.studies import STUDY_ASSETS, claims
from synde_pipeline.errors import InputError
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.studies.claims import collected, write_claims
from synde_pipeline.studies.registry import STUDIES, about, study_of
from synde_pipeline.studies.study import artefact_of, is_done, run_study
from synde_pipeline.studies.verdicts import HOLDS, NOT, UNDECIDED
from synde_pipeline_tests.helpers import synde

TOSSED, BREAKS = [], []
"""Seeds that coins were really tossed for; whether the study fails at its end."""


def coins(run):
    """A study with parts, a section and text that wants escaping."""

    def toss(seed):
        TOSSED.append(seed)
        return {"heads": seed / 10}

    parts = [run.part({"seed": seed}, lambda seed=seed: toss(seed)) for seed in ((1,) if run.is_quick else (1, 2))]
    run.numbers["parts"] = parts
    run.show("Tosses", "By <seed>.", rows=parts)
    yield run.claim(
        "fair", "ours", "coins are <fair>", measured=0.5, error=(0.4, 0.6), n=len(parts), verdict="not shown"
    )
    if BREAKS:
        raise ZeroDivisionError


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "coins", f"{__name__}:coins")
    TOSSED.clear()
    BREAKS.clear()
    return Settings(home=tmp_path)


@pytest.mark.parametrize("name", STUDIES)
def test_every_registered_study_is_there_and_says_what_it_is_about(name):
    assert callable(study_of(name))
    assert about(name).endswith((".", ":", "?"))


def test_without_a_name_the_studies_are_listed(home):
    assert "notes" in synde("study", home=home).stdout
    listed = json.loads(synde("study", "--json", home=home).stdout)["studies"]
    assert {row["name"] for row in listed} == set(STUDIES)
    assert not (home / "warehouse").exists()


def test_an_unknown_study_or_preset_is_refused_by_name(home):
    result = synde("study", "nonsense", home=home, check=False)
    assert result.returncode == 2
    assert "no study is called 'nonsense'; expected mechanism or" in result.stderr
    assert "--preset is 'huge'" in synde("study", "notes", "--preset", "huge", home=home, check=False).stderr
    with pytest.raises(InputError):
        study_of("nonsense")


def test_claims_lie_beside_the_studys_files_and_a_new_run_replaces_them(settings):
    warehouse = Warehouse(settings.warehouse)
    claims, header = run_study(settings, "coins", run)
    folder = warehouse.folder(artefact_of("coins"), "")
    assert folder.parent == warehouse.root / "studies" / "coins"
    assert read_json(folder / "claims.json") == [claim.model_dump(mode="json") for claim in claims]
    assert read_json(folder / "report.json")["parts"] == [{"heads": 0.1}, {"heads": 0.2}]
    page = (folder / "report.html").read_text("utf-8")
    assert "coins are &lt;fair&gt;" in page
    assert "By &lt;seed&gt;" in page
    assert run_study(settings, "coins", run)[1] == header
    run_study(settings, "coins", run, preset="quick")
    assert not folder.exists()
    assert read_json(warehouse.folder(artefact_of("coins"), "") / "report.json")["preset"] == "quick"


def test_an_interrupted_study_keeps_its_parts_and_the_last_ones_files(settings):
    warehouse = Warehouse(settings.warehouse)
    run_study(settings, "coins", run, preset="quick")
    before = warehouse.folder(artefact_of("coins"), "")
    BREAKS.append(True)
    with pytest.raises(ZeroDivisionError):
        run_study(settings, "coins", run)
    assert warehouse.folder(artefact_of("coins"), "") == before
    assert [path.name for path in before.parent.iterdir() if path.is_dir()] == [before.name]
    assert TOSSED == [1, 2]  # the quick run's part was kept for the full one
    BREAKS.clear()
    run_study(settings, "coins", run)
    assert TOSSED == [1, 2]


def test_what_other_code_measured_is_not_done(settings):
    _, header = run_study(settings, "coins", run, preset="quick")
    assert is_done(settings, "coins", "quick")
    assert not is_done(settings, "coins", "full")
    other = header.model_copy(update={"inputs": {"code": "other"}})
    path = Warehouse(settings.warehouse).path(artefact_of("coins"), "") / "current.json"
    path.write_text(other.model_dump_json(), "utf-8")
    assert not is_done(settings, "coins", "quick")


def test_the_claims_page_has_a_row_for_every_claim_and_says_what_never_ran(settings):
    run_study(settings, "coins", run)
    header = write_claims(Warehouse(settings.warehouse))
    assert header.counts == {"claims": 1}
    folder = Warehouse(settings.warehouse).folder("claims", "")
    page = (folder / "claims.html").read_text("utf-8")
    assert "coins are &lt;fair&gt;" in page
    assert "synde study coins --preset full" in page
    assert "Not run: <code>synde study notes</code>" in page
    text = (folder / "claims.md").read_text("utf-8")
    assert "| coins are <fair>" in text
    assert "Not run: `synde study notes`" in text
    rows = {row["study"]: row for row in collected(Warehouse(settings.warehouse))}
    assert (folder / rows["coins"]["page"]).resolve().exists()
    assert rows["notes"]["claims"] == []


def test_a_study_runs_as_an_asset_and_shows_its_claims(settings):
    asset = next(asset for asset in STUDY_ASSETS if asset.key.path[-1] == "poisoning")
    result = dg.materialize([asset, claims], resources={"synde": Synde(overrides=settings.model_dump(mode="json"))})
    assert result.success
    shown = result.asset_materializations_for_node("studies__poisoning")[0].metadata
    assert shown["claims"].records[0].data["verdict"] in (HOLDS, NOT, UNDECIDED)
    assert shown["report"].path.endswith("report.html")
