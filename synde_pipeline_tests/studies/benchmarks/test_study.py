"""The whole study: what is not given is said, what is given is measured, and ground truth stays where it was."""

import json
import re
from pathlib import Path

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.settings import BenchmarksConfig, LlmConfig, MemoryConfig, Settings, load
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.studies.study import artefact_of, run_study
from synde_pipeline_tests.llm_server import serving
from synde_pipeline_tests.studies.benchmarks.desk import Desk
from synde_pipeline_tests.studies.benchmarks.problems import SECRET, solver, write_problems
from synde_pipeline_tests.studies.benchmarks.test_environments import installed as installed
from synde_pipeline_tests.studies.benchmarks.test_environments import reads
from synde_pipeline_tests.studies.benchmarks.test_sandbox import permits
from synde_pipeline_tests.studies.benchmarks.test_task_sets import REPORT, config

HASHING = MemoryConfig(embedder="hashing")


def no_days(*_):
    raise AssertionError("nothing here lives days")


def measured(settings: Settings, preset: str = "full"):
    claims, _ = run_study(settings, "benchmarks", no_days, preset=preset)
    folder = Warehouse(settings.warehouse).folder(artefact_of("benchmarks"), "")
    return {claim.id.removeprefix("benchmarks."): claim for claim in claims}, folder


def stored(*folders: Path) -> str:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def test_what_is_not_given_is_not_run_and_says_how_to_give_it(home):
    found = measured(Settings(home=home))[0].values()
    assert {claim.verdict for claim in found} == {"not run"}
    assert {claim.measured for claim in found} == {None}
    given = re.findall(r"set (SYNDE_[A-Z]+)=", " ".join(claim.what for claim in found))
    assert given == ["SYNDE_HUMANEVAL", "SYNDE_ENVIRONMENT", "SYNDE_WEBARENA", "SYNDE_SWEBENCH"]


def test_files_and_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SYNDE_HUMANEVAL", "a.jsonl")
    monkeypatch.setenv("SYNDE_BENCHMARK_TASKS", "3")
    monkeypatch.setenv("SYNDE_SANDBOX", "limits")
    found = load().benchmarks
    assert (found.humaneval, found.max_tasks, found.sandbox) == (Path("a.jsonl"), 3, "limits")
    monkeypatch.setenv("SYNDE_SANDBOX", "none")
    with pytest.raises(InputError, match="SYNDE_SANDBOX"):
        load()


def test_task_sets_are_counted_and_claimed(home, tmp_path):
    web, runs = tmp_path / "web.json", tmp_path / "runs"
    web.write_text(json.dumps([config(number, number // 8) for number in range(80)]))
    runs.mkdir()
    (runs / "report.json").write_text(json.dumps(REPORT))
    for name in ("a__b-1", "a__b-2", "x__y-1"):
        (runs / f"{name}.traj").write_text("{}")
    found, folder = measured(Settings(home=home, benchmarks=BenchmarksConfig(webarena=web, swebench=runs)))
    assert (found["webarena.by_template"].measured, found["webarena.by_template"].verdict) == (0, "holds exactly")
    assert found["webarena.by_task"].measured > 0.5
    resolved = found["swebench.resolved"]
    assert (resolved.measured, resolved.n) == (0.5, 2)
    assert "of 3 with a trajectory" in resolved.what
    assert read_json(folder / "report.json")["webarena"]["groups"] == 10


def test_a_file_that_is_named_and_missing_is_an_error(home, tmp_path):
    for name in ("humaneval", "webarena", "swebench"):
        given = BenchmarksConfig(**{name: tmp_path / "nowhere"})
        with pytest.raises(InputError, match="nowhere"):
            measured(Settings(home=home, benchmarks=given))


@pytest.fixture
def problems(tmp_path):
    if not permits():
        pytest.skip("this machine permits no namespaces")
    return tmp_path / "ours.jsonl", write_problems(tmp_path / "ours.jsonl")


def test_an_endpoint_is_measured_on_all_tasks_and_its_weights_do_not_apply(home, problems):
    path, rows = problems
    with serving(solver(rows, lambda row: not row["entry_point"].startswith("count"))) as server:
        llm = LlmConfig(base_url=server.url, model="knows", pause_s=0.001)
        settings = Settings(
            home=home, llm=llm, memory=HASHING, benchmarks=BenchmarksConfig(humaneval=path, max_tasks=2)
        )
        found, folder = measured(settings)
        n_asked = len(server.asked)
        again, _ = measured(settings)
        assert len(server.asked) == n_asked
    assert again == found
    rate = found["humaneval.none"]
    numbers = read_json(folder / "report.json")["humaneval"]
    tried = dict(numbers["tasks"]["none"])
    solvable = [k for k, row in enumerate(rows) if f"humaneval:code:{row['task_id']}" in tried and k % 3 != 2]
    assert sorted(name for name, how in tried.items() if how == "success") == sorted(
        f"humaneval:code:Ours/{k}" for k in solvable
    )
    assert rate.n == numbers["everywhere"]["n"] == sum(numbers["everywhere"]["endings"].values())
    assert rate.error[0] < rate.measured < rate.error[1]
    assert "tiny" not in rate.claim
    assert {found[f"humaneval.{arm}"].verdict for arm in ("weights", "dual")} == {"not applicable"}
    assert "not ours to train" in found["humaneval.dual"].what
    assert found["humaneval.weights"].measured is None
    assert found["humaneval.context"].verdict in ("holds", "does not hold", "not shown")
    assert "namespaces (network shut" in numbers["isolation"]
    assert SECRET not in stored(folder, home / "study_homes", home / "warehouse")
    assert "math" in stored(home / "study_homes"), "what was tried is logged, so the search above could find it"


@pytest.mark.slow
def test_a_tiny_local_base_is_measured_and_called_tiny(home, problems):
    path, _ = problems
    settings = Settings(home=home, memory=HASHING, benchmarks=BenchmarksConfig(humaneval=path, max_tasks=1))
    found, folder = measured(settings, "quick")
    assert "embedded base (tiny model)" in found["humaneval.none"].claim
    assert found["humaneval.none"].n == 3
    assert found["humaneval.weights"].verdict == "not run"
    assert "no champion of the domain code" in found["humaneval.weights"].what
    assert "It is tiny" in (folder / "report.html").read_text()
    assert not (home / "warehouse" / "base_model").exists(), "measuring pins nothing"


def test_a_users_environment_is_measured_by_its_entry_point(home, installed):
    with serving(reads) as server:
        llm = LlmConfig(base_url=server.url, model="reader", pause_s=0.001)
        given = BenchmarksConfig(environment="lending")
        found, folder = measured(Settings(home=home, llm=llm, memory=HASHING, benchmarks=given))
    context = found["environment-lending.context"]
    urgent = [task.budget == 1 for task in Desk().tasks() if task.split == "report"]
    assert (context.measured, context.n) == (sum(urgent) / len(urgent), len(urgent))
    assert context.error[0] < context.measured < context.error[1]
    numbers = read_json(folder / "report.json")["environment-lending"]
    assert numbers["arms"]["context"]["success"] == 1.0
    assert numbers["arms"]["context"]["items_shown"] >= 1
    assert Path(numbers["logs"]).is_dir()
