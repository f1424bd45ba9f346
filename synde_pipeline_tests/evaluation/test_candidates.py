"""Real small models at the gate: a better one passes on logs alone; each planted fault is turned down for itself."""

import json
import shutil
from datetime import timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from synde_pipeline.base_model import load
from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.due import is_due
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import publish, render
from synde_pipeline.laboratory import report_of
from synde_pipeline.models.adapters import Made, publish_made
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.registry import champion
from synde_pipeline.models.same import TOLERANCE, distance
from synde_pipeline.models.verified import WEIGHTS, broken_files
from synde_pipeline.records import split_of
from synde_pipeline.settings_gate import GateConfig
from synde_pipeline.storage import Warehouse, read_json
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD
from synde_pipeline_tests.models.test_bank import ROUTED, SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny

GATE_TASKS = [f"t{k}" for k in range(400) if split_of(f"test:library:t{k}") == "gate"][:32]
TRAINING = ROUTED.model_copy(update={"max_steps": 30, "learning_rate": 3e-2})
LEARNING = SETTINGS.model_copy(update={"training": TRAINING, "gate": GateConfig(probe_texts=12)})


def second_day(warehouse):
    return trained(warehouse, DAY + timedelta(1), "site:a", config=LEARNING)[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A warehouse with gate tasks of its first day, whose first cycle was judged; the second is trained and waits."""
    warehouse = Warehouse(tmp_path_factory.mktemp("served") / "warehouse")
    pin_tiny(warehouse)
    runs = [trajectory(f"gate:{k}", task=t, scope="site:a", steps=called(*GOOD)) for k, t in enumerate(GATE_TASKS)]
    land(warehouse, runs, name="gate")
    first, _ = trained(warehouse, DAY, "site:a", config=LEARNING)
    return warehouse, first, judged(warehouse, first), second_day(warehouse)


@pytest.fixture
def waiting(served, tmp_path):
    """A copy of it, and the cycle that waits."""
    shutil.copytree(served[0].root, tmp_path / "copy")
    return Warehouse(tmp_path / "copy"), served[3]


def judged(warehouse, cycle, config=LEARNING):
    """Evaluate and decide, as the assets do."""
    report = report_of(warehouse, cycle, config)
    publish(warehouse, cycle.key, report, {MERGED: report["model"]["hash"]})
    return report["gate"], decide(warehouse, cycle, load(warehouse).hash)


def failed(gate):
    return {item["name"] for item in gate["checks"] if item["status"] == "failed"}


def planted(warehouse, cycle, change):
    """Put other weights into a cycle's adapters, recorded as if they had been trained."""
    header, folder = warehouse.header(ADAPTERS, cycle.key), warehouse.folder(ADAPTERS, cycle.key)

    def write(made):
        shutil.copytree(folder, made, dirs_exist_ok=True)
        for path in made.rglob(WEIGHTS):
            save_file(change(load_file(path)), path, metadata={"format": "pt"})

    publish_made(warehouse, (ADAPTERS, cycle.key), header.inputs, Made(header.counts, header.info, write))
    return merge_cycle(warehouse, cycle)


def weights_of(warehouse, cycle):
    (path,) = warehouse.folder(ADAPTERS, cycle.key).rglob(WEIGHTS)
    return load_file(path)


def rescaled(weights):
    """Other files, the same product: 2 A and B / 2."""
    return {name: value * (2.0 if "lora_A" in name else 0.5) for name, value in weights.items()}


# -- what passes ------------------------------------------------------------------------------------------------------


def test_offline_replay_promotes_a_model_that_predicts_held_out_runs_better(served):
    warehouse, first, (gate, verdict), _ = served
    assert verdict.accepted is True
    assert (gate["basis"], gate["metric"], gate["n"], gate["clustered_by"]) == ("improvement", "nll", 32, "task")
    assert failed(gate) == set()
    assert gate["dual"]["candidate"] < gate["dual"]["champion"]  # nats
    assert gate["p"]["better"] <= gate["level"] < 0.05
    statuses = {item["name"]: item["status"] for item in gate["checks"]}
    assert statuses["canaries"] == statuses["retention"] == statuses["other domains"] == "not applicable"
    numbers = {item["name"]: (item["found"], item["limit"], item["n"]) for item in gate["checks"]}
    assert all(None not in numbers[name] for name in ("kl to base", "base data", "served tool top-1"))
    assert champion(warehouse).domains["library"].cycle == first.key
    assert len(champion(warehouse).history[0].reason) < 200
    json.dumps(gate, allow_nan=False)


def test_a_report_of_a_model_that_was_decided_on_keeps_its_evidence(served):
    warehouse, first, (gate, _), _ = served
    header = warehouse.header("eval_reports", first.key)
    again = report_of(warehouse, first, LEARNING)
    assert again["gate"] == json.loads(json.dumps(gate))
    assert publish(warehouse, first.key, again, {MERGED: again["model"]["hash"]}) == header


# -- what is turned down ----------------------------------------------------------------------------------------------


def turned_down(warehouse, cycle, reason, config=LEARNING):
    """Judge; the champion must stay, and the reason say why."""
    before = champion(warehouse).domains
    gate, verdict = judged(warehouse, cycle, config)
    assert verdict.accepted is False
    assert reason in verdict.reason
    assert champion(warehouse).domains == before
    assert not is_due(warehouse, cycle)
    return gate


@pytest.mark.parametrize("change", [dict, rescaled], ids=["copy", "rescaled"])
def test_a_copy_of_the_champion_is_never_promoted_whatever_its_files_look_like(waiting, change):
    warehouse, cycle = waiting
    first = champion(warehouse).domains["library"]
    theirs = weights_of(warehouse, type("Key", (), {"key": first.cycle}))
    model = planted(warehouse, cycle, lambda _: change(theirs))
    assert model.content_hash != first.model
    gate = turned_down(warehouse, cycle, "its weights act as those of the champion library-0001")
    assert failed(gate) == {"not identical"}
    assert champion(warehouse).history[-1].basis == ""  # nothing was tested, nothing is spent


def test_an_adapter_that_does_nothing_is_the_base(waiting):
    warehouse, cycle = waiting
    (warehouse.root / "champion.json").unlink()
    planted(warehouse, cycle, lambda weights: {name: torch.zeros_like(value) for name, value in weights.items()})
    turned_down(warehouse, cycle, "its weights act as those of the base alone")


def test_forgetting_is_named(waiting):
    """Adapters turned round: what the champion knew of earlier days is gone."""
    warehouse, cycle = waiting
    planted(warehouse, cycle, lambda weights: {n: -v if "lora_B" in n else v for n, v in weights.items()})
    gate = turned_down(warehouse, cycle, "retention")
    assert {"retention dual", "retention weights", "better or not worse"} <= failed(gate)
    assert not failed(gate) & {"adapter files", "lineage", "not identical", "canaries"}


def test_a_model_far_from_its_base_is_turned_down_for_that(waiting):
    warehouse, cycle = waiting
    strict = LEARNING.model_copy(update={"gate": GateConfig(probe_texts=12, max_kl=1e-6, base_margin=1e-6)})
    assert {"kl to base", "base data"} <= failed(turned_down(warehouse, cycle, "kl to base: library-0002/g00", strict))


def test_broken_safetensors_are_not_even_loaded_and_the_run_stays_green(waiting):
    warehouse, cycle = waiting
    (path,) = warehouse.folder(ADAPTERS, cycle.key).rglob(WEIGHTS)
    path.write_bytes(path.read_bytes()[:-100])
    gate = turned_down(warehouse, cycle, "adapter files: adapters[library-0002]: its files are")
    assert failed(gate) == {"adapter files"}
    report = read_json(warehouse.folder("eval_reports", cycle.key) / "report.json")
    assert "not evaluated" in report["arms"]["dual"]["note"]
    assert "not evaluated" in render(report)


def test_weights_that_are_no_numbers_are_found_although_their_files_are_the_recorded_ones(waiting):
    warehouse, cycle = waiting
    model = planted(warehouse, cycle, lambda weights: {name: value * torch.nan for name, value in weights.items()})
    assert broken_files(warehouse, model, load(warehouse)) == [
        "adapters[library-0002]/g00: weights that are no finite numbers"
    ]
    turned_down(warehouse, cycle, "no finite numbers")


def test_a_lineage_of_its_own_is_turned_down(waiting):
    warehouse, cycle = waiting
    path = warehouse.folder(ADAPTERS, cycle.key) / "lineage.json"
    said = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(said | {"inputs": said["inputs"] | {"training_shards": "f" * 64}}), "utf-8")
    gate = turned_down(warehouse, cycle, "was made from training_shards ffffffffffff")
    assert failed(gate) == {"lineage"}


def test_recorded_inputs_from_elsewhere_are_refused_and_the_champion_stays(waiting):
    warehouse, cycle = waiting
    before = champion(warehouse)
    path = warehouse.path(ADAPTERS, cycle.key) / "current.json"
    header = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(header | {"inputs": header["inputs"] | {"base_model": "f" * 64}}), "utf-8")
    with pytest.raises(LineageError, match="was made from base_model ffffffffffff"):
        judged(warehouse, cycle)
    with pytest.raises(LineageError):
        decide(warehouse, cycle, load(warehouse).hash)
    assert champion(warehouse) == before
    assert is_due(warehouse, cycle)  # it is trained again


# -- effective weights ------------------------------------------------------------------------------------------------


def adapter(seed, rank=1, modules=2):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(torch.randn(rank, 6, generator=generator), torch.randn(4, rank, generator=generator))] * modules
    return AdapterWeights(2.0, {f"m{k}": (a.clone(), b.clone()) for k, (a, b) in enumerate(shapes)})


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 3))
@settings(max_examples=20)
def test_the_distance_of_two_adapters_is_that_of_their_products(one, other, rank):
    a, b = adapter(one, rank), adapter(other)

    def full(x):
        return torch.cat([(x.scale * out @ into).flatten() for into, out in x.matrices.values()]).double()

    expected = float((full(a) - full(b)).norm() / max(full(a).norm(), full(b).norm()))
    assert distance(a, b) == pytest.approx(expected, abs=1e-6)


def test_rescaling_and_splitting_change_no_effective_weight_and_a_thousandth_does():
    a = adapter(1)
    halves = AdapterWeights(1.0, {n: (torch.cat([x, x]), torch.cat([y, y], 1)) for n, (x, y) in a.matrices.items()})
    assert distance(a, halves) < TOLERANCE
    nudged = AdapterWeights(2.002, a.matrices)
    assert distance(a, nudged) > TOLERANCE
    assert distance(a, AdapterWeights(1.0, {})) == 1.0
    assert distance(AdapterWeights(1.0, {}), AdapterWeights(1.0, {})) == 0.0
