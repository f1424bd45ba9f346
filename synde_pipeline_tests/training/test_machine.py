"""Training within the machine's limits: types of the frozen weights, memory, devices, and what a run is told."""

import math

import pytest
import torch

from synde_pipeline.errors import BaseModelError, InputError
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.machine import estimate_memory, held, load_in_4bit
from synde_pipeline.training.train import TrainingRun, train
from synde_pipeline_tests.models_for_tests import save_model, tiny
from synde_pipeline_tests.training.test_train import CONFIG, GROUPS, ROWS, nll, our_gradients, random_bank

BFLOAT16 = CONFIG.model_copy(update={"weights_dtype": "bfloat16"})


def test_gradients_over_bfloat16_weights_point_the_same_way():
    config = CONFIG.model_copy(update={"batch_size": 6})
    exact, _, _ = our_gradients(tiny(), random_bank(tiny(), 3, config), GROUPS, config)
    model = tiny()
    bank = random_bank(model, 3, config)
    with held(model, bank, BFLOAT16, MachineConfig(device="cpu")):
        assert model.dtype == torch.bfloat16
        found, _, _ = our_gradients(model, bank, GROUPS, config)
    assert found.dtype == torch.float32
    assert all(torch.cosine_similarity(found, exact, dim=1) > 0.999)


def test_the_given_weights_come_back_to_the_bit_after_a_training_in_bfloat16():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = train(model, [ROWS], BFLOAT16)
    assert trained.curves[0][-1] < trained.curves[0][0]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    base = nll(model, ROWS[0])
    with trained.bank.routed([0]):
        assert nll(model, ROWS[0]) < base


def test_4bit_says_what_it_needs(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("the machine may have all it needs")
    with pytest.raises(BaseModelError, match="without a GPU"):
        load_in_4bit(save_model(tmp_path / "base"))
    with pytest.raises(InputError, match="load_in_4bit"):
        train(tiny(), [ROWS], CONFIG.model_copy(update={"weights_dtype": "4bit"}))


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no GPU"):
        train(tiny(), [ROWS], CONFIG, TrainingRun(machine=MachineConfig(device="cuda")))


@pytest.mark.gpu
def test_a_gpu_learns_the_same():
    here, there = (
        train(tiny(), GROUPS, CONFIG, TrainingRun(machine=MachineConfig(device=device))) for device in ("cpu", "cuda")
    )
    assert there.bank.table.device.type == "cpu"
    for one, other in zip(here.curves, there.curves, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


# -- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"o_proj": True}])
def test_the_estimate_is_above_what_autograd_keeps_and_not_far_above(options):
    config = CONFIG.model_copy(update={"batch_size": 24, **options})
    rows = [ROWS[k % 2] for k in range(24)]
    rows = [{**row, "input_ids": [k, *row["input_ids"][1:]]} for k, row in enumerate(rows)]
    model = tiny()
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    bank = random_bank(model, 1, config)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        our_gradients(model, bank, [rows], config)
    n_tokens = sum(len(row["input_ids"]) for row in rows)
    estimated = estimate_memory(model, [rows], config, MachineConfig(tokens_at_once=n_tokens))
    assert sum(kept.values()) < estimated < 4 * sum(kept.values())


def test_more_of_anything_takes_more_memory_and_recomputing_less():
    small = MachineConfig(tokens_at_once=512)

    def estimate(groups=GROUPS, machine=small, **values) -> int:
        return estimate_memory(tiny(), groups, CONFIG.model_copy(update=values), machine)

    assert estimate(GROUPS[:1]) < estimate()
    assert estimate() < estimate(rank=8)
    assert estimate() < estimate(o_proj=True)
    assert estimate(weights_dtype="bfloat16") < estimate()
    assert estimate() < estimate(machine=MachineConfig(tokens_at_once=4096))
    assert estimate(machine=MachineConfig(tokens_at_once=512, gradient_checkpointing=True)) < estimate()


def test_a_training_too_large_for_the_machine_does_not_start():
    machine = MachineConfig(max_memory_gb=1e-3)
    with pytest.raises(InputError, match=r"about 0\.\d+ GB; expected 0\.00 GB at most; lower machine.tokens_at_once"):
        train(tiny(), GROUPS, CONFIG, TrainingRun(machine=machine))


# -- what surrounds a training --------------------------------------------------------------------------------------


def test_a_run_is_told_of_every_step_and_now_and_then_of_the_distance_from_the_base():
    model, seen = tiny(), []
    run = TrainingRun(
        machine=MachineConfig(checkpoint_every=2), on_step=seen.append, probe=lambda: {"nll": nll(model, ROWS[0])}
    )
    base = nll(model, ROWS[0])
    config = CONFIG.model_copy(update={"epochs": 4})
    trained = train(model, GROUPS, config, run)
    assert [report.step for report in seen] == [1, 2, 3, 4, 5, 6]
    assert all(report.n_steps == 6 for report in seen)
    assert [set(report.losses) for report in seen] == [{0, 1, 2}] * 2 + [{0, 1}] * 2 + [{1}] * 2
    assert [bool(report.kl_to_base) for report in seen] == [False, True] * 3
    assert all(math.isclose(seen[k].losses[1], value) for k, value in enumerate(trained.curves[1]))
    assert seen[0].rates[1] == config.learning_rate
    assert 0 < max(report.unlikelihood_share for report in seen) < 1
    assert seen[1].kl_to_base[0] > 0
    assert trained.peak_kl[1] == max(report.kl_to_base[1] for report in seen if report.kl_to_base)
    assert seen[3].probes[0]["nll"] < base  # adapter 0 learned that row
    assert seen[3].probes[0] != seen[3].probes[1]


def test_a_probe_and_a_look_at_the_base_change_nothing():
    model = tiny()
    run = TrainingRun(machine=MachineConfig(checkpoint_every=1), probe=lambda: {"nll": nll(model, ROWS[0])})
    assert torch.equal(train(model, GROUPS, CONFIG, run).bank.table, train(tiny(), GROUPS, CONFIG).bank.table)


def test_a_penalty_is_added_to_each_adapters_loss_and_gradient():
    def pull(bank):
        return 1e3 * bank.table.square().sum(1)

    plain = train(tiny(), GROUPS, CONFIG)
    pulled = train(tiny(), GROUPS, CONFIG, TrainingRun(penalty=pull))
    assert pulled.curves[0][0] > plain.curves[0][0] + 1
    assert pulled.bank.table.norm() < plain.bank.table.norm()


def test_what_is_done_after_each_step_holds_in_the_end():
    def project(bank):
        bank.table[:, :5] = 0.0

    trained = train(tiny(), GROUPS, CONFIG, TrainingRun(after_step=project))
    assert not trained.bank.table[:, :5].any()
    assert trained.bank.table[:, 5:].any()
