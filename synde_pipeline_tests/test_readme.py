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
CODE = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
RECURSIVE = {"make test", "make check"}
"""What runs this very test, and what CI runs beside it: make must know how, it is not run again."""
LONG = {"make run"}
"""Five simulated days: `make soak` runs it, twice."""
LASTING = {"make ui", "synde serve"}
"""Runs until Ctrl-C; `defs/test_daemon.py` and `serving/test_server.py` start it, ask it and stop it."""


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
    word = command
    if command in RECURSIVE | LASTING | LONG:
        word = re.sub(r"^make ", "make -n ", command) if command.startswith("make") else f"{command} --help"
    done = shell(word, readers_home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_make_run_shows_an_agent_that_learns_and_does_nothing_the_second_time(tmp_path):
    first, second = shell("make run", tmp_path), shell("make run", tmp_path)
    for done in (first, second):
        assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was done" not in first.stdout
    assert "nothing was done" in second.stdout
    state = re.search(r"state: +\w+", first.stdout)
    assert state
    assert state.group() in second.stdout


def test_the_readmes_code_logs_a_trajectory_that_the_pipeline_reads(readers_home, monkeypatch):
    monkeypatch.setenv("SYNDE_HOME", str(readers_home))
    (code,) = [block for block in CODE if "ExecutionLogger" in block]
    exec(compile(code, "README.md", "exec"), {})
    logged = [path.read_text("utf-8") for path in (readers_home / "warehouse" / "landing").glob("*/agent.jsonl")]
    assert len(logged) == 1
    assert "renew the loan" in logged[0]


def test_the_readmes_code_learns_in_both_layers_without_dagster(tmp_path):
    (code,) = [block for block in CODE if "DualLearningSystem" in block]
    script = tmp_path / "reader.py"
    script.write_text(code + "\nimport sys\nassert 'dagster' not in sys.modules\n", "utf-8")
    done = shell(f"PYTHONPATH={ROOT} {sys.executable} {script}", tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("library-0001 ")
    assert len(said) >= 2  # a lesson too


def test_the_readmes_code_edits_the_memory_and_looks_back(tmp_path):
    (code,) = [block for block in CODE if "ContextMemory" in block]
    script = tmp_path / "reader.py"
    script.write_text(code + "\nimport sys\nassert 'dagster' not in sys.modules\n", "utf-8")
    done = shell(f"PYTHONPATH={ROOT} {sys.executable} {script}", tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["active ['Who is calling']", "[]"]


def test_the_readmes_settings_and_links_exist():
    from synde_pipeline.settings import ENVIRONMENT

    named = set(re.findall(r"`(SYNDE_[A-Z_]+)`", README))
    assert named <= set(ENVIRONMENT) | {"SYNDE_TRAINING_PRESET"}
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
