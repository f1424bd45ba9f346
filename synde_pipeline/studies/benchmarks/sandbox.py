"""Runs generated code against a test, in jails, and says which walls held: they are tried before every run.

`jail` is the wall, `trial` what runs behind it. A jail is no virtual machine: a hole in the kernel is a hole in it.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from synde_pipeline.errors import InputError
from synde_pipeline.records.base import Record
from synde_pipeline.settings import Guard
from synde_pipeline.settings_slow import Config

_HERE = Path(__file__).parent
_LIBRARIES = ("/usr", "/lib", "/lib64")
"""What a dynamically linked Python needs beside its own folder."""


OUT_OF_TIME = "out of time"


class Limits(Config):
    """What one program of a trial may use."""

    cpu_s: int = 10
    wall_s: float = 20.0
    """Of the whole trial; then everything in it is killed."""
    memory_bytes: int = 2**30
    """Address space."""
    file_bytes: int = 2**20
    """Of one file."""
    work_bytes: int = 2**24
    """Of all files: `/work` lies in main memory."""
    open_files: int = 32


class Verdict(NamedTuple):
    """Of one trial."""

    passed: bool
    reason: str
    """Why not, in a few words of ours: no text of the test or of the code."""


class Isolation(Record):
    """Which walls stood when they were tried."""

    guard: Guard
    holds: dict[str, bool]
    """Wall -> whether the code behind it could not get through."""

    def __str__(self) -> str:
        walls = [f"{name} {'shut' if shut else 'OPEN'}" for name, shut in self.holds.items()]
        return f"{self.guard} ({', '.join(walls)})"


class Sandbox:
    """Where trials run.

    Args:
        limits: of each program.
        guard: `namespaces` shuts off network, files and processes; `limits` bounds resources and nothing else.
    """

    def __init__(self, limits: Limits | None = None, guard: Guard = "namespaces") -> None:
        self._limits = limits or Limits()
        self._guard: Guard = guard

    def trial(self, code: str, prompt: str, test: str, entry_point: str) -> Verdict:
        """Run a test on generated code.

        Args:
            code: a program that defines `entry_point`; nobody trusts it.
            prompt: what the test's own helpers are taken from.
            test: a program that defines `check(function)`.
            entry_point: name of the function.
        """
        calls, replies = os.pipe(), os.pipe()
        holder = {"code": code, "entry_point": entry_point, "read": calls[0], "write": replies[1]}
        judge = {"prompt": prompt, "test": test, "entry_point": entry_point, "read": replies[0], "write": calls[1]}
        with (
            tempfile.TemporaryDirectory(prefix="synde-trial-") as root,
            self._started("answer", holder, root) as holding,
            self._started("judge", judge, root) as judging,
        ):
            for end in (*calls, *replies):
                os.close(end)
            try:
                said = judging.communicate(timeout=self._limits.wall_s)[0]
            except subprocess.TimeoutExpired:
                return Verdict(False, OUT_OF_TIME)
            verdict = Verdict(**json.loads(said)) if said else Verdict(False, "no verdict")
            is_late = not verdict.passed and _used_up_its_time(holding)
            return Verdict(False, OUT_OF_TIME) if is_late else verdict

    @contextmanager
    def _started(self, role: str, given: Mapping[str, Any], root: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program in its jail; when the block is left, nothing of it runs any more."""
        limits = self._limits
        words = {
            "program": (_HERE / "trial.py").read_text("utf-8"),
            "role": role,
            "root": root,
            "shut_off": self._guard == "namespaces",
            "seen": _seen(),
            "work_bytes": limits.work_bytes,
            "limits": {
                "CPU": limits.cpu_s,
                "AS": limits.memory_bytes,
                "FSIZE": limits.file_bytes,
                "NOFILE": limits.open_files,
                "CORE": 0,
                "NPROC": 1,  # no further process, and no thread
            },
        }
        with _as_file(given) as stdin:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_HERE / "jail.py"), json.dumps(words)],
                stdin=stdin,
                stdout=subprocess.PIPE if role == "judge" else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(given["read"], given["write"]),
                start_new_session=True,
                env={},
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()

    def check(self) -> Isolation:
        """Try every wall from inside.

        Raises:
            InputError: no program runs here at all, or namespaces were asked for and a wall did not stand.
        """
        if not self._probe(_WORKS, 0):
            raise _refused(self._guard, "no program starts behind it")
        with _bait() as found:
            holds = {wall: self._probe(code, found[wall]) for wall, code in _PROBES.items()}
        open_walls = [wall for wall, shut in holds.items() if not shut]
        if open_walls and self._guard == "namespaces":
            raise _refused(self._guard, f"generated code got through: {', '.join(open_walls)}")
        return Isolation(guard=self._guard, holds=holds)

    def _probe(self, code: str, argument: Any) -> bool:
        test = f"def check(probe):\n    assert probe({argument!r}) == 'shut'"
        return self.trial(code, "def probe(bait):\n    pass", test, "probe").passed


def _used_up_its_time(process: subprocess.Popen[bytes]) -> bool:
    """Whether a program was ended by its limit of CPU time; what still runs was not."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=1) in (-signal.SIGXCPU, 128 + signal.SIGXCPU)
    return False


def _refused(guard: Guard, why: str) -> InputError:
    return InputError(
        f"generated code cannot be run behind {guard} on this machine: {why}",
        expected="Linux 5.12 or newer that permits user namespaces, or root",
        remedy="permit them, or set SYNDE_SANDBOX=limits on a machine that has nothing to lose: there generated code "
        "can read your files and use the network",
    )


def _seen() -> list[str]:
    own = str(Path(sys.base_prefix).resolve())
    return sorted({folder for folder in (*_LIBRARIES, own) if Path(folder).is_dir()})


@contextmanager
def _as_file(given: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(given).encode("utf-8"))
        file.seek(0)
        yield file


@contextmanager
def _bait() -> Iterator[dict[str, Any]]:
    """What the probes go for: a server, a file to read, a file to write, a process to signal."""
    folder = Path(tempfile.mkdtemp(prefix="synde-bait-"))
    # What is tried is the wall, not the file's mode.
    folder.chmod(0o777)
    (folder / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {
            "network": server.getsockname()[1],
            "reading files": str(folder / "secret"),
            "writing files": str(folder / "planted"),
            "processes": 0,
            "signals": os.getpid(),
        }
    shutil.rmtree(folder)


def _probe_of(statement: str) -> str:
    lines = ["def probe(bait):", "    import os, socket", "    try:", f"        {statement}"]
    return "\n".join([*lines, "    except OSError:", "        return 'shut'", "    return 'open'"])


_WORKS = "def probe(bait):\n    return 'shut'"
_PROBES = {
    "network": _probe_of("socket.create_connection(('127.0.0.1', bait), 1)"),
    "reading files": _probe_of("open(bait).read()"),
    "writing files": _probe_of("open(bait, 'w').write('x')"),
    "processes": _probe_of("os.fork() or os._exit(0)"),
    "signals": _probe_of("os.kill(bait, 0)"),
}
