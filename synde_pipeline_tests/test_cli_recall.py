"""`synde recall` as a user calls it: in a process of its own, on logs that were read."""

import pytest

from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, called, land, synde, synde_json, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, TRAIN
from synde_pipeline_tests.memory.test_places import SCOPE, WORKS, visit
from synde_pipeline_tests.memory.test_store import materialise

CONFIG = MemoryConfig(embedder="hashing")


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Two tools at one place, a workflow of the domain, and a day later one tool at another place."""
    home = tmp_path_factory.mktemp("home")
    warehouse = Warehouse(home / "warehouse")
    here = [visit(k, ("nav", "browse", WORKS), ("extract", ".price", WORKS)) for k in range(3)]
    there = [visit(k, ("nav", "search", WORKS), scope="site:other", trial=1, day=1) for k in range(3)]
    anywhere = [trajectory(f"test:{k}", task=TRAIN[k], steps=called(*GOOD)) for k in range(3)]
    land(warehouse, [*here, *there, *anywhere])
    for day in sorted({item.day for item in (*here, *there)}):
        materialise(warehouse, day)
    return home


def test_recall_shows_items_with_score_and_reason_and_the_same_ids_each_time(lived):
    found = synde_json("recall", "extract and renew", "--scope", SCOPE, home=lived)
    assert set(found) == {"task", "domain", "scope", "as_of", "without_task", "items"}
    assert found["domain"] == "library"  # the only one
    titles = [(item["title"], item["reason"]) for item in found["items"]]
    assert titles[:2] == [("extract", "works at the place"), ("nav", "works at the place")]
    assert titles[2][1] == "holds all over the domain"
    assert found["items"][0]["score"] >= found["items"][1]["score"]
    assert (
        found["items"][:2]
        == synde_json("recall", "extract and renew", "--scope", SCOPE, "--k", "2", home=lived)["items"]
    )


def test_explain_says_where_items_come_from_and_what_kept_others_out(lived):
    words = ["recall", "nav", "--scope", SCOPE, "--explain"]
    now = synde_json(*words, home=lived)
    assert now["left_out"]["other_place"] == 1
    assert {support["task_id"] for support in now["supports"][now["items"][0]["id"]]} == {
        f"test:library:{task}" for task in TRAIN[:3]
    }
    own = f"test:library:{TRAIN[0]}"
    then = synde_json(*words, "--as-of", str(DAY), "--without-task", own, home=lived)
    assert then["left_out"]["not_known_yet"] == 1
    assert (then["as_of"], then["without_task"]) == (str(DAY), own)
    assert then["bank"]["hash"] != now["bank"]["hash"]
    assert {support["task_id"] for found in then["supports"].values() for support in found} >= {
        f"test:library:{TRAIN[1]}"
    }
    assert all(support["task_id"] != own for found in then["supports"].values() for support in found)
    said = synde(*words, home=lived).stdout
    assert now["items"][0]["id"] in said
    assert now["bank"]["hash"][:16] in said
    assert "left out: 1 other place" in said


def test_words_that_are_off_end_with_2_and_say_what_would_do(lived, tmp_path):
    wrong = synde("recall", "nav", "--domain", "airline", home=lived, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "expected library" in wrong.stderr
    assert synde("recall", "nav", "--as-of", "yesterday", home=lived, check=False).returncode == 2
    empty = synde("recall", "nav", home=tmp_path / "new", check=False)
    assert empty.returncode == 2
    assert "the memory is empty" in empty.stderr
    other = synde("recall", "nav", home=lived, check=False, SYNDE_EMBEDDER="minilm")
    assert other.returncode == 1
    assert "embedded by hashing" in other.stderr


def test_several_domains_have_to_be_told_apart(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse")
    runs = [
        trajectory(f"test:{domain}{k}", task=TRAIN[k], domain=domain, steps=called(*GOOD))
        for domain in ("library", "airline")
        for k in range(9)
    ]
    land(warehouse, runs)
    materialise(warehouse, DAY)
    wrong = synde("recall", "renew", home=tmp_path, check=False)
    assert wrong.returncode == 2
    assert "--domain airline or library" in wrong.stderr


def test_help_documents_the_keys(tmp_path):
    said = " ".join(synde("recall", "--help", home=tmp_path).stdout.replace("│", " ").split())
    for key in ("as_of", "without_task", "score", "reason", "left_out", "passed_over", "supports"):
        assert key in said
