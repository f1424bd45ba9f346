"""Every command of the README is executed, in its order, in one home, from the checkout's root."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
RECURSIVE = {"make test", "make check"}
"""What runs this very test, and what CI runs beside it: make must know how, it is not run again."""
LASTING = {"make ui"}
"""Runs until Ctrl-C; `defs/test_daemon.py` starts it, opens its pages and stops it."""


@pytest.fixture(scope="module")
def readers_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("reader")


def shell(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "SYNDE_HOME": str(home),
        "SYNDE_EMBEDDER": "hashing",
        "SYNDE_PRETRAIN_STEPS": "20",
        "SYNDE_TRAINING_EPOCHS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_the_readme_shows_its_commands_in_bash_blocks():
    assert {"make run LOGS=data/samples", "make test", "make ui", "synde status"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(command, readers_home):
    word = re.sub(r"^make ", "make -n ", command) if command in RECURSIVE | LASTING else command
    done = shell(word, readers_home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_make_run_without_logs_says_what_to_give(tmp_path):
    done = shell("make run", tmp_path)
    assert done.returncode != 0
    assert "LOGS=" in done.stderr


def test_the_readmes_settings_and_links_exist():
    from synde_pipeline.settings import ENVIRONMENT

    named = set(re.findall(r"`(SYNDE_[A-Z_]+)`", README))
    assert named <= set(ENVIRONMENT) | {"SYNDE_TRAINING_PRESET"}
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
