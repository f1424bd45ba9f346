"""What `synde bench` makes contestants do: the same work for all, and the command line around it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from synde_pipeline.studies.bench import merge_ours, merge_peers
from synde_pipeline.studies.bench.contest import contest
from synde_pipeline.studies.bench.merge import write_base
from synde_pipeline.studies.bench.train_work import (
    SIZES,
    Size,
    contestants_of_prefix,
    contestants_of_train,
    facts_of,
    sequences,
    shared,
    trajectories,
    write_data,
    write_model,
)
from synde_pipeline_tests.helpers import synde, synde_json

TINY = Size(512, 32, 48, 2, 2, n_sequences=5, log_mean=4.0, log_sd=0.5)


def test_the_sequences_are_the_ones_the_targets_speak_of():
    small, large = facts_of(sequences(SIZES["small"])), facts_of(sequences(SIZES["large"]))
    assert (small["sequences"], small["longest"]) == (12, 726)
    assert 235 < small["tokens"] / 12 < 260
    assert small["target_share"] == pytest.approx(0.23, abs=0.01)
    assert (large["sequences"], large["target_share"]) == (4, pytest.approx(0.23, abs=0.01))
    assert 1180 < large["tokens"] < 1250


def test_steps_of_a_trajectory_are_prefixes_and_share_their_targets_with_the_one_sequence():
    for trajectory in trajectories(TINY, n=2, n_steps=4):
        whole = shared(trajectory)
        assert len(trajectory) == 4
        for step in trajectory:
            assert whole["input_ids"][: len(step["input_ids"])] == step["input_ids"]
        assert sum(whole["targets"]) == sum(sum(step["targets"]) for step in trajectory) == 100


@pytest.mark.slow
def test_all_contestants_find_the_same_loss(tmp_path):
    # The peers that our own environment happens to hold stand in for those of .venv-bench.
    write_model(TINY, tmp_path / "model")
    data = write_data(sequences(TINY), tmp_path / "data.json")
    entries = contest(contestants_of_train(tmp_path / "model", data), 1, Path(sys.executable))
    losses = {item.contestant.name: item.rounds[0].facts.get("loss") for item in entries if item.rounds}
    assert {"ours", "hf_trainer", "torch_peft"} <= set(losses)
    assert losses["hf_trainer"] == pytest.approx(losses["ours"], rel=1e-5)
    assert losses["torch_peft"] == pytest.approx(losses["ours"], rel=1e-5)
    # B = 0 again before each round: every round does the same work
    for item in entries:
        if item.rounds and "loss" in item.first:
            assert item.rounds[0].facts["loss"] == pytest.approx(item.first["loss"], rel=1e-6)


@pytest.mark.slow
def test_merges_of_ours_and_of_peft_agree(tmp_path):
    base, adapters = tmp_path / "base", [tmp_path / f"adapter-{k}" for k in range(3)]
    write_base(TINY, base, adapters)
    words = {"base": str(base), "adapters": [str(path) for path in adapters]}
    for job in (merge_ours.ours, merge_peers.peft):
        run, _ = job(words | {"out": str(tmp_path / job.__module__.rpartition(".")[2])})
        run()
    before = load_file(base / "model.safetensors")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("merge_ours", "merge_peers"))
    assert set(ours) == set(theirs) == set(before)
    changed = {name for name in ours if not torch.equal(ours[name], before[name])}
    assert changed == {name for name in ours if ".mlp." in name}
    for name in ours:
        # one bf16 step; more only where PEFT's delta, which it rounds first, nearly cancels the weight
        torch.testing.assert_close(ours[name], theirs[name], rtol=2**-7, atol=1e-5)


@pytest.mark.slow
def test_one_sequence_per_trajectory_has_the_loss_of_one_per_step(tmp_path):
    size = replace(TINY, n_sequences=0)
    write_model(size, tmp_path / "model")
    found = trajectories(size, n_steps=3)
    one_each = write_data([shared(steps) for steps in found], tmp_path / "shared.json")
    each_step = write_data([step for steps in found for step in steps], tmp_path / "steps.json")
    contestants = contestants_of_prefix(tmp_path / "model", one_each, each_step)
    by_name = {item.contestant.name: item for item in contest(contestants, 1, Path(sys.executable))}
    assert by_name["ours"].first["loss"] == pytest.approx(by_name["ours_per_step"].first["loss"], rel=1e-5)


def test_help_names_the_contracts_keys_and_a_wrong_name_is_the_users_mistake(tmp_path):
    said = " ".join(synde("bench", "--help", home=tmp_path).stdout.replace("│", " ").split())
    for key in ("cpu_s", "wall_s", "rss_mb", "PEER_over_ours", "make bench-setup"):
        assert key in said
    wrong = synde("bench", "speed", home=tmp_path, check=False)
    assert wrong.returncode == 2
    assert "train" in wrong.stderr


@pytest.mark.slow
def test_bench_prints_one_object_of_the_contract(tmp_path):
    found = synde_json("bench", "prefix", "--rounds", "1", home=tmp_path)
    assert {"machine", "rows", "ratios"} <= set(found)
    rows = {row["name"]: row for row in found["rows"]}
    for row in rows.values():
        assert {"cpu_s", "wall_s", "rss_mb", "n", "min", "max"} <= set(row) or "unavailable" in row
    assert rows["ours"]["n"] == 1
    assert found["ratios"]["ours_per_step_over_ours"] > 0
    assert [verdict["verdict"] in {"met", "missed", "not measured"} for verdict in found["verdicts"]] == [True]
    json.dumps(found)
