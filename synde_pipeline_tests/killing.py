"""Kill tests: real work in a process of its own, SIGKILLed at random instants, and what must hold after each kill.

The work is a module of the tests that prints `started` when its imports are done, does its work on a folder and ends.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

State = TypeVar("State")

Start = Callable[[Path], subprocess.Popen[str]]
"""Starts the work on a folder, which it sets up where nothing is there yet. See `work`."""


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a shell that starts pytest in the background has its children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def work(module: str, home: Path, *words: str) -> subprocess.Popen[str]:
    """Start `python -m module home words`; its errors go to a file beside `home`."""
    command = [sys.executable, "-W", "ignore", "-m", module, str(home), *words]
    with _errors(home).open("a", encoding="utf-8") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def kill_until_done(
    make_process: Start, check: Callable[[Path], State], folder: Path, *, times: int = 20, seed: int = 0
) -> State:
    """Kill the work `times` times, each life going on from what the one before left; then let it finish.

    Args:
        make_process: starts the work on a home.
        check: asserts that nothing in a home is half-written, called after every kill; returns the home's state, which
            at the end must equal that of a run that was never disturbed.
        folder: where the homes are made.
        times: kills.
        seed: of the instants, which are uniform over the time that the undisturbed work took.

    Returns:
        The state, the same with and without kills.
    """
    chance = random.Random(seed)
    took = _finish(make_process, folder / "undisturbed")
    expected = check(folder / "undisturbed")
    home = folder / "killed"
    n_killed, n_lives = 0, 0
    while n_killed < times:
        if _killed(make_process(home), home, chance.uniform(0, took)):
            n_killed += 1
            check(home)
        else:
            # The work was done before the kill came: begin another life, so that every kill hits something.
            assert check(home) == expected
            n_lives += 1
            home = folder / f"killed-{n_lives}"
    _finish(make_process, home)
    assert check(home) == expected
    return expected


def _killed(process: subprocess.Popen[str], home: Path, after_s: float) -> bool:
    with process:
        _await_start(process, home)
        try:
            code = process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
        assert code == 0, _said(home)
        return False


def _finish(make_process: Start, home: Path) -> float:
    """Let the work end by itself; returns the seconds that it took."""
    with make_process(home) as process:
        _await_start(process, home)
        started = time.monotonic()
        code = process.wait(600)
        took = time.monotonic() - started
    assert code == 0, _said(home)
    return took


def _await_start(process: subprocess.Popen[str], home: Path) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n", _said(home)


def _errors(home: Path) -> Path:
    home.parent.mkdir(parents=True, exist_ok=True)
    return home.parent / f"{home.name}.err"


def _said(home: Path) -> str:
    return _errors(home).read_text("utf-8")[-3000:]
