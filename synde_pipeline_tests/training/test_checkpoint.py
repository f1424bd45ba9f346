"""An interrupted training goes on to the same bits, wherever it was killed; a foreign checkpoint is left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.checkpoint import clear_checkpoint
from synde_pipeline.training.train import Trained, TrainingRun, train
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.training.test_train import CONFIG, GROUPS

CHANGING = CONFIG.model_copy(update={"dropout": 0.2, "epochs": 6, "failures": "npo"})
EVERY = MachineConfig(checkpoint_every=3)


class Stopped(Exception):
    pass


def run_until(folder: Path, stop: int | None, config=CHANGING, groups=GROUPS) -> Trained:
    def look(report):
        if report.step == stop:
            raise Stopped

    run = TrainingRun(machine=EVERY, checkpoint=folder, on_step=look)
    return train(tiny(), groups, config, run)


def equal(one: Trained, two: Trained) -> bool:
    return torch.equal(one.bank.table, two.bank.table) and (one.curves, one.peak_kl) == (two.curves, two.peak_kl)


@given(st.lists(st.integers(1, 8), max_size=3))
@settings(max_examples=4, deadline=None)
def test_a_training_that_stops_anywhere_ends_in_the_same_bits(tmp_path_factory, stops):
    whole = run_until(tmp_path_factory.mktemp("whole"), None)
    folder = tmp_path_factory.mktemp("stopped")
    for stop in stops:
        try:
            run_until(folder, stop)
        except Stopped:
            continue
    assert equal(run_until(folder, None), whole)


def test_a_resumed_training_makes_only_the_steps_that_are_left(tmp_path):
    with pytest.raises(Stopped):
        run_until(tmp_path, 5)
    seen = []
    run = TrainingRun(machine=EVERY, checkpoint=tmp_path, on_step=lambda report: seen.append(report.step))
    train(tiny(), GROUPS, CHANGING, run)
    assert seen == [4, 5, 6, 7, 8, 9]
    clear_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []
    clear_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "groups"),
    [(CHANGING.model_copy(update={"seed": 1}), GROUPS), (CHANGING, GROUPS[::-1]), (CHANGING, [GROUPS[0], *GROUPS[:2]])],
)
def test_a_foreign_checkpoint_is_ignored_with_a_log_line(tmp_path, caplog, config, groups):
    with pytest.raises(Stopped):
        run_until(tmp_path, 5)
    found = run_until(tmp_path, None, config, groups)
    assert "is of another training" in caplog.text
    assert equal(found, run_until(tmp_path / "new", None, config, groups))


def test_a_broken_checkpoint_is_ignored_too(tmp_path, caplog):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half of")
    assert equal(run_until(tmp_path, None), run_until(tmp_path / "new", None))
    assert "cannot be read" in caplog.text


# -- a real process -------------------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys
from pathlib import Path
from safetensors.torch import save_file
from synde_pipeline_tests.training.test_checkpoint import CHANGING, EVERY, GROUPS, TrainingRun, tiny, train
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
def look(report):
    if report.step == stop:
        os.kill(os.getpid(), signal.SIGKILL)
trained = train(tiny(), GROUPS, CHANGING, TrainingRun(machine=EVERY, checkpoint=folder, on_step=look))
save_file({"table": trained.bank.table.detach()}, folder / "result.safetensors")
"""


def process(folder: Path, stop: int) -> int:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(stop)], env=environment, check=False
    ).returncode


@pytest.mark.slow
def test_a_killed_process_leaves_a_checkpoint_that_ends_in_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(whole, 0) == 0
    assert process(killed, 4) == -signal.SIGKILL
    assert process(killed, 7) == -signal.SIGKILL
    assert not list(killed.glob("result*"))
    assert process(killed, 0) == 0
    assert (killed / "result.safetensors").read_bytes() == (whole / "result.safetensors").read_bytes()
