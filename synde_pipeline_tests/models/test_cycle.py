"""Cycles end to end on a tiny base: what is stale is refused, what is unchanged trains nothing, days are honest."""

from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import load, pin_given
from synde_pipeline.errors import BaseModelError, LineageError
from synde_pipeline.evaluation.arms import evaluate_cycle, learned_tasks, learned_until
from synde_pipeline.evaluation.due import is_due
from synde_pipeline.evaluation.report import publish
from synde_pipeline.logs.daily import load_all
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.compose import checked_entry, ledger_before
from synde_pipeline.models.merge import MERGED, fresh_merged, merge_cycle
from synde_pipeline.models.registry import reject
from synde_pipeline.settings import BufferConfig, EvaluationConfig, MemoryConfig, PromptConfig, Settings, TrainingConfig
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import publish_shard
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, REPORT
from synde_pipeline_tests.models_for_tests import pin_tiny, save_model
from synde_pipeline_tests.training.test_buffer import arrive

SEQUENTIAL = TrainingConfig(composition="sequential")
SETTINGS = Settings(
    training=SEQUENTIAL,
    memory=MemoryConfig(embedder="hashing"),
    prompt=PromptConfig(window=256),
    evaluation=EvaluationConfig(min_tasks=2, bootstrap=100),
)


def cycle_on(warehouse, day, name):
    """Logs of one day, frozen and trained into a merged model."""
    held_out = [trajectory(f"{name}:r{k}", task=REPORT[k], day=day, steps=called(*GOOD)) for k in range(3)]
    land(warehouse, held_out, name=f"{name}-report")
    arrive(warehouse, day, [f"{name}:{k}" for k in range(3)], name=name)
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    publish_shard(warehouse, cycle, SETTINGS)
    train_cycle(warehouse, cycle, SETTINGS.training)
    merge_cycle(warehouse, cycle)
    return cycle


@pytest.fixture
def two(warehouse):
    pin_tiny(warehouse)
    return cycle_on(warehouse, DAY + timedelta(9), "late"), cycle_on(warehouse, DAY, "early")


def test_unchanged_inputs_train_nothing_and_a_cycle_with_its_report_is_not_due(warehouse, two):
    first, _ = two
    assert train_cycle(warehouse, first, SETTINGS.training)[1] is False
    assert is_due(warehouse, first)
    report = evaluate_cycle(warehouse, first, load_all(warehouse), SETTINGS)
    publish(warehouse, first.key, report, {MERGED: report["model"]["hash"]})
    assert not is_due(warehouse, first)
    assert report["arms"]["none"]["nll"]["n"] == 3


def test_a_merged_model_is_base_plus_every_adapter_of_its_ledger(warehouse, two):
    _, second = two
    base = load(warehouse)
    assert len(warehouse.header(MERGED, second.key).info["adapters"]) == 2
    expected = dict(base.model.state_dict())
    for key in ("library-0001", "library-0002"):
        tensors = load_file(warehouse.folder("adapters", key) / "adapter_model.safetensors")
        for name in [name for name in tensors if ".lora_A." in name]:
            module = name.removeprefix("base_model.model.").replace(".lora_A", "")
            delta = 16.0 * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
            expected[module] = expected[module] + delta
    merged = load_file(warehouse.folder(MERGED, second.key) / "model.safetensors")
    for name, tensor in merged.items():
        assert torch.allclose(tensor, expected[name], atol=1e-5), name


def test_a_rejected_adapter_never_enters_the_ledger(warehouse, two):
    first, second = two
    base = load(warehouse)
    assert [entry.cycle for entry in ledger_before(warehouse, second, base.hash)] == [first.key]
    reject(warehouse, first, warehouse.header(MERGED, first.key), "worse")
    assert ledger_before(warehouse, second, base.hash) == []
    with pytest.raises(LineageError, match="was made from on_top_of"):  # it was trained on top of the rejected one
        fresh_merged(warehouse, second, base.hash)
    assert train_cycle(warehouse, second, SETTINGS.training)[1]
    assert [row["cycle"] for row in merge_cycle(warehouse, second).info["adapters"]] == [second.key]


def test_a_rewritten_shard_makes_adapter_model_and_report_stale(warehouse, two):
    first, second = two
    base = load(warehouse)
    other = SETTINGS.model_copy(update={"prompt": PromptConfig(window=256, max_action=8, max_header=16)})
    publish_shard(warehouse, first, other)
    for refused in (
        lambda: checked_entry(warehouse, first, base.hash, []),
        lambda: ledger_before(warehouse, second, base.hash),
        lambda: fresh_merged(warehouse, second, base.hash),
        lambda: evaluate_cycle(warehouse, second, load_all(warehouse), SETTINGS),
    ):
        with pytest.raises(LineageError, match="again"):
            refused()
    assert is_due(warehouse, first)


def test_an_adapter_of_another_base_is_refused(warehouse, two):
    with pytest.raises(LineageError, match="was made from base_model"):
        checked_entry(warehouse, two[0], "f" * 64, [])


def test_a_model_that_learned_from_a_later_cycle_is_not_called_time_split(warehouse, two):
    late, early = two
    assert early.last_day < late.last_day
    assert learned_until(warehouse, early, load(warehouse)) == late.last_day
    report = evaluate_cycle(warehouse, early, load_all(warehouse), SETTINGS)
    assert report["evaluation"]["is_time_split"] is False


def test_what_the_base_read_counts_as_learned(warehouse):
    header = pin_tiny(warehouse)
    with_corpus = header.model_copy(update={"info": {**header.info, "task_ids": ["test:library:t1"]}})
    (warehouse.path(BASE) / "current.json").write_text(with_corpus.model_dump_json())
    assert learned_tasks(warehouse, []) == {"test:library:t1"}


def test_a_given_base_is_pinned_with_its_type_and_must_hold_the_window(warehouse, tmp_path):
    folder = save_model(tmp_path / "model", "gpt2")  # 512 positions
    with pytest.raises(BaseModelError, match="SYNDE_WINDOW=512"):
        pin_given(warehouse, Settings(base_model=str(folder)))
    fits = Settings(base_model=str(folder), prompt=PromptConfig(window=512))
    assert pin_given(warehouse, fits).info["dtype"] == "float32"
