"""The facade does what the assets do: same artefacts from the same logs, whichever way they came in."""

import subprocess
import sys
from datetime import timedelta

import pytest

from synde_pipeline.defs.run import run as materialise
from synde_pipeline.dual import DualLearningSystem
from synde_pipeline.errors import InputError
from synde_pipeline.logs.reading import fixed_per_day
from synde_pipeline.models.registry import champion
from synde_pipeline.settings import BufferConfig, MemoryConfig, ModelsConfig, Settings, TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, TRAIN
from synde_pipeline_tests.models_for_tests import pin_tiny
from synde_pipeline_tests.sample_logs import SAMPLE
from synde_pipeline_tests.training.test_buffer import arrive

CYCLE = ("training_shards", "adapters", "merged_models", "eval_reports")
DAILY = ("raw_logs", "reflections", "memory_deltas", "curated_memory", "training_examples")


@pytest.fixture
def system(home):
    found = DualLearningSystem(
        Settings(
            home=home,
            memory=MemoryConfig(embedder="hashing"),
            buffer=BufferConfig(threshold=6),
            training=TrainingConfig(max_steps=2),
        )
    )
    pin_tiny(found.warehouse)
    return found


def run(k, day=DAY, domain="library"):
    return trajectory(f"test:{domain}{k}", domain=domain, task=TRAIN[k], day=day, steps=called(*GOOD))


def hashes(warehouse, day, artefacts=DAILY):
    headers = {name: warehouse.header(name, str(day)) for name in artefacts}
    return {name: header and header.content_hash for name, header in headers.items()}


def test_an_execution_is_in_both_layers_at_once_as_record_or_as_fields(system, tmp_path):
    done = system.process_execution(run(0), run(1).model_dump(mode="json"))
    assert (done.days, done.n_trajectories, done.n_quarantined) == ((DAY,), 2, 0)
    by_hand = Warehouse(tmp_path / "other")
    arrive(by_hand, DAY, ["test:library0", "test:library1"])
    same = ("raw_logs", "reflections", "training_examples")
    assert hashes(system.warehouse, DAY, same) == hashes(by_hand, DAY, same)
    before = hashes(system.warehouse, DAY)
    assert None not in before.values()
    assert system.process_execution(run(1), run(0)).n_trajectories == 2
    assert hashes(system.warehouse, DAY) == before


def test_a_full_buffer_is_trained_judged_and_empty_afterwards(system):
    system.process_execution(run(0))
    assert (len(system.training_buffer), system.training_buffer.is_full("library")) == (3, False)
    assert system.fine_tune_cycle() == []
    system.process_execution(run(1, DAY + timedelta(1)))
    assert (system.training_buffer.n_waiting("library"), system.training_buffer.is_full("library")) == (6, True)
    assert not system.training_buffer.is_full("no such domain")
    (done,) = system.fine_tune_cycle()
    assert (done.cycle, done.was_trained, done.report["cycle"]) == ("library-0001", True, "library-0001")
    assert done.verdict.accepted is False  # no gate task: nothing is shown
    assert "insufficient evidence" in done.verdict.reason
    assert champion(system.warehouse).domains == {}
    assert len(system.training_buffer) == 6  # given back, for the next cycle
    assert not system.training_buffer.is_full("library")
    assert system.fine_tune_cycle() == system.fine_tune_cycle(now=True) == []
    system.process_execution(run(2))
    assert not system.training_buffer.is_full("library")
    assert [done.cycle for done in system.fine_tune_cycle(now=True)] == ["library-0002"]
    said = system.status()
    assert (said["trajectories"], said["cycles"], said["cycles_due"], said["adapters"]) == (3, 2, 0, 2)


def test_one_domain_can_be_finished_and_the_other_stays_due(system):
    for domain in ("library", "museum"):
        system.process_execution(*(run(k, domain=domain) for k in range(12)))
    both = sorted(system.training_buffer.waiting)
    assert len(both) == 2
    assert [done.cycle for done in system.fine_tune_cycle("museum")] == ["museum-0001"]
    assert system.status()["cycles_due"] == 1
    assert [done.cycle for done in system.fine_tune_cycle()] == ["library-0001"]


def test_what_was_learned_is_recalled_as_of_a_day(system):
    wrong = ("renew", {"l": "1"}, "Error: fine is due", False)
    for k in range(3):
        steps = called(wrong, ("renew", {"l": "2"}, "done", True))
        system.process_execution(trajectory(f"test:{k}", task=TRAIN[k], steps=steps))
    assert any("renew" in item.title for item in system.recall("renew the loan", "library"))
    assert system.recall("renew the loan", "library", as_of=DAY - timedelta(1)) == []
    assert system.recall("renew the loan", "library", top_k=0) == []


def test_native_logs_are_imported_and_those_without_times_need_a_rule(system):
    with pytest.raises(InputError, match="no time"):
        system.process_execution(SAMPLE)
    done = system.process_execution(SAMPLE, rule=fixed_per_day(DAY, 90))
    assert done.days == (DAY, DAY + timedelta(1))
    assert done.n_trajectories == 180


def test_what_is_no_trajectory_or_of_no_partition_is_refused(system):
    with pytest.raises(InputError, match="trace_uid"):
        system.process_execution({"domain": "library"})
    with pytest.raises(InputError, match="1999"):
        system.process_execution(run(0, DAY.replace(year=1999)))
    with pytest.raises(InputError, match="does not exist"):
        system.process_execution("no/such/file.json")
    assert system.warehouse.keys("raw_logs") == []


def test_a_home_is_enough_and_wins_over_the_environment(tmp_path):
    system = DualLearningSystem(tmp_path / "mine")
    assert system.warehouse.root == tmp_path / "mine" / "warehouse"


@pytest.mark.slow
def test_the_assets_make_the_same_of_the_same_logs(system, tmp_path):
    texts = tmp_path / "base.txt"
    texts.write_text("please renew my loan\n" * 40, "utf-8")
    settings = system.settings.model_copy(
        update={
            "models": ModelsConfig(serve_as="adapter"),
            "training": TrainingConfig(max_steps=2, base_replay=0.5),
            "replay_data": texts,
        }
    )
    runs = [run(k) for k in range(3)]
    mine = DualLearningSystem(settings)
    mine.process_execution(*runs)
    (done,) = mine.fine_tune_cycle()
    theirs = settings.model_copy(update={"home": tmp_path / "other"})
    pin_tiny(Warehouse(theirs.warehouse))
    land(Warehouse(theirs.warehouse), runs)
    assert materialise(theirs).cycles == [done.cycle]
    for day, artefacts in ((str(DAY), DAILY), (done.cycle, CYCLE)):
        assert hashes(mine.warehouse, day, artefacts) == hashes(Warehouse(theirs.warehouse), day, artefacts)
    summary = materialise(settings)
    assert (summary.days, summary.cycles) == ([], [])


def test_it_loads_no_dagster_and_no_model_library():
    code = (
        "import sys, synde_pipeline.dual;"
        "print([name for name in ('dagster', 'torch', 'transformers', 'lancedb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
