"""Exports load in plain PEFT and transformers, say what they are, and never mix with what lies there."""

import json
from datetime import timedelta

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.export import export, served_headers
from synde_pipeline.models.merge import MERGED, served_model
from synde_pipeline.models.registry import champion, promote, served_of
from synde_pipeline_tests.helpers import DAY, synde, synde_json
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models.test_cycle import cycle_on
from synde_pipeline_tests.models.test_overrule import SEQUENTIAL, judged
from synde_pipeline_tests.models_for_tests import pin_tiny, tiny

IDS = torch.arange(9, 20)[None]


def test_a_bank_exports_as_one_peft_folder_an_adapter_with_its_key(warehouse, tmp_path):
    pin_tiny(warehouse)
    for k, scopes in enumerate((("site:a", "site:b", "site:c"), ("site:d",))):
        cycle, model = trained(warehouse, DAY + timedelta(k), *scopes)
        promote(warehouse, cycle, model, "passed")
    models = served_headers(warehouse, champion(warehouse).domains)
    found = export(warehouse, models, tmp_path / "out", "adapters")
    rows = {row["folder"].rsplit("/", 1)[1]: row["scopes"] for row in found["folders"]}
    assert rows == {"library-0001-g00": "site:a, site:b", "library-0002-g01": "site:c, site:d"}
    for name in rows:
        folder = tmp_path / "out" / name
        assert {"domain": "library"}.items() <= json.loads((folder / "key.json").read_text()).items()
        about = json.loads((folder / "lineage.json").read_text())
        assert about["adapter"] == warehouse.header(ADAPTERS, about["cycle"]).content_hash
        assert len(about["trajectories"]) >= 2
        theirs = PeftModel.from_pretrained(tiny(), str(folder))
        assert not torch.allclose(theirs(IDS).logits, tiny()(IDS).logits, atol=1e-4)
    for form in ("merged", "cat"):
        with pytest.raises(InputError, match=r"is a bank.*expected --as adapters"):
            export(warehouse, models, tmp_path / form, form)
        assert not (tmp_path / form).exists()
    assert [path.name for path in tmp_path.glob(".tmp-*")] == []


def test_a_ledger_exports_as_adapters_as_one_adapter_and_as_a_model(warehouse, tmp_path):
    pin_tiny(warehouse)
    cycle_on(warehouse, DAY, "one")
    second = cycle_on(warehouse, DAY + timedelta(3), "two")
    model = warehouse.header(MERGED, second.key)
    expected = served_model(warehouse, served_of(model))(IDS).logits
    (tmp_path / "cat").mkdir()  # an empty folder is fine
    for form in ("adapters", "cat", "merged"):
        export(warehouse, [model], tmp_path / form, form)
    parts = sorted((tmp_path / "adapters").iterdir())
    assert [path.name for path in parts] == ["library-0001", "library-0002"]
    summed = tiny()
    for part in parts:
        summed = PeftModel.from_pretrained(summed, str(part)).merge_and_unload()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    one = PeftModel.from_pretrained(tiny(), str(tmp_path / "cat"))
    for found in (summed, loaded, one):
        assert torch.allclose(found(IDS).logits, expected, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("renew my loan")["input_ids"]
    for form in ("cat", "merged"):
        about = json.loads((tmp_path / form / "lineage.json").read_text())
        assert about["model"]["hash"] == model.content_hash
        assert [row["cycle"] for row in about["adapters"]] == ["library-0001", "library-0002"]


def test_what_lies_there_is_never_touched_and_what_is_not_the_recorded_adapter_is_not_exported(warehouse, tmp_path):
    pin_tiny(warehouse)
    cycle = cycle_on(warehouse, DAY, "one")
    model = warehouse.header(MERGED, cycle.key)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    for taken in (tmp_path / "mine", tmp_path / "mine" / "file"):
        with pytest.raises(InputError, match="exists and is not empty"):
            export(warehouse, [model], taken, "adapters")
    with pytest.raises(InputError, match="no champion to export"):
        export(warehouse, [], tmp_path / "new", "adapters")
    current = warehouse.path(ADAPTERS, cycle.key) / "current.json"
    current.write_text(current.read_text().replace(warehouse.header(ADAPTERS, cycle.key).content_hash, "f" * 64))
    for form in ("adapters", "cat", "merged"):
        with pytest.raises(LineageError, match=r"adapters\[library-0001\] is"):
            export(warehouse, [model], tmp_path / "new", form)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "home"}


@pytest.mark.slow
def test_the_commands_of_models_as_a_user_meets_them(warehouse, tmp_path):
    home = warehouse.root.parent
    home.mkdir(exist_ok=True)
    (home / "settings.json").write_text(SETTINGS.model_copy(update={"home": home}).model_dump_json())
    pin_tiny(warehouse)
    made = []
    for k, passed in enumerate((True, False)):
        made.append(trained(warehouse, DAY + timedelta(k), "site:a", config=SEQUENTIAL)[0])
        judged(warehouse, made[-1], passed=passed)
    assert synde("promote", made[1].key, home=home, check=False).returncode == 2  # nobody to ask
    found = synde_json("promote", made[1].key, "--reason", "better for us", "--yes", home=home)
    assert (found["from"], found["to"]) == (made[0].key, made[1].key)
    text = synde("champion", home=home).stdout
    assert "library: library-0002" in text
    assert "promoted by a person: better for us" in text
    removals = synde_json("gc", "--keep", "0", "--dry-run", home=home)
    assert len(removals["removals"]) == 1
    assert removals["freed"] is None
    assert synde_json("gc", "--keep", "0", "--yes", home=home)["freed"] > 0
    assert synde_json("rollback", "--yes", home=home)["to"] == made[0].key
    assert synde_json("champion", home=home)["domains"]["library"]["cycle"] == made[0].key
    exported = synde_json("export", "--as", "merged", "--out", str(tmp_path / "out"), home=home)
    assert [row["cycle"] for row in exported["folders"]] == [made[0].key]
    again = synde("export", "--out", str(tmp_path / "out"), home=home, check=False)
    assert again.returncode == 2
    assert "Traceback" not in again.stderr
