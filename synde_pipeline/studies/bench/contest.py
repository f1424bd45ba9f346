"""A contest: contestants do the same work in turns (A B C, A B C), each in a worker process that stays alive.

Numbers are CPU seconds first: they mean the same on a busy machine. Ratios are paired round by round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

import synde_pipeline
from synde_pipeline.errors import BenchError
from synde_pipeline.studies.bench import worker

REMEDY = "make bench-setup"
PEERS_PYTHON = Path(synde_pipeline.__file__).parents[1] / ".venv-bench" / "bin" / "python"
"""The peers' own environment: their versions are nobody else's business."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_ENVIRONMENT = _ONE_THREAD | {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True)
class Contestant:
    """One way to do the work."""

    name: str
    file: Path
    """Python file that holds the job; see `worker`."""
    job: str
    words: dict[str, Any]
    """What the job is told; JSON."""
    is_peer: bool = False
    """Runs in the peers' environment, and may be missing."""
    versus: str | None = "ours"
    """Contestant that it is compared with."""


@dataclass(frozen=True)
class Round:
    """One measured round of one contestant."""

    cpu_s: float
    wall_s: float
    rss_mb: float
    """Peak resident memory during the round, 10^6 bytes."""
    above_floor_mb: float
    """Peak above what the process held before its first round, imports and preparation done."""
    facts: dict[str, Any]
    """What the job says of its work."""


@dataclass
class Entry:
    """A contestant and how it fared."""

    contestant: Contestant
    rounds: list[Round] = field(default_factory=list)
    first: dict[str, Any] = field(default_factory=dict)
    """Facts of the unmeasured warm-up round."""
    torch: str | None = None
    unavailable: str | None = None

    def row(self) -> dict[str, Any]:
        """The entry as a row of the bench's JSON: medians, with min and max of the CPU seconds."""
        row: dict[str, Any] = {"name": self.contestant.name, "n": len(self.rounds)}
        if self.unavailable is not None:
            return row | {"unavailable": self.unavailable}
        cpu = [item.cpu_s for item in self.rounds]
        return row | {
            "cpu_s": round(statistics.median(cpu), 4),
            "min": round(min(cpu), 4),
            "max": round(max(cpu), 4),
            "wall_s": round(statistics.median(item.wall_s for item in self.rounds), 4),
            "rss_mb": round(max(item.rss_mb for item in self.rounds), 1),
            "above_floor_mb": round(max(item.above_floor_mb for item in self.rounds), 1),
        }


class _Process:
    """A contestant's worker: started, prepared and waiting for the next round."""

    def __init__(self, contestant: Contestant, python: Path, log: Path) -> None:
        words = [contestant.file, contestant.job, json.dumps(contestant.words)]
        self._log = log
        with log.open("w", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                [str(python), "-P", worker.__file__, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=os.environ | _ENVIRONMENT,
            )
        self.torch: str | None = self._answer()["torch"]

    def round(self) -> Round:
        """Let the worker run one round.

        Raises:
            BenchError: it died; the last line that it wrote says why.
        """
        assert self._process.stdin is not None  # noqa: S101 - piped above
        with suppress(BrokenPipeError):
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        return Round(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - piped above
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self.close()
        said = [text.strip() for text in self._log.read_text("utf-8").splitlines() if text.strip()]
        raise BenchError(said[-1] if said else f"exit code {self._process.returncode}")

    def close(self) -> None:
        """End of stdin ends the worker."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 - piped above
            with suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


def contest(contestants: Sequence[Contestant], rounds: int, peers_python: Path = PEERS_PYTHON) -> list[Entry]:
    """Run every contestant once to warm up and then `rounds` times in turns.

    A peer that cannot be run is an entry that says why.

    Raises:
        BenchError: a contestant of our own failed.
    """
    entries = [Entry(contestant) for contestant in contestants]
    processes: dict[str, _Process] = {}
    bar = tqdm(total=len(entries) * (rounds + 1), desc="bench", unit="round", disable=None, leave=False)
    with tempfile.TemporaryDirectory(prefix="synde-bench-logs-") as logs:
        try:
            for number in range(rounds + 1):
                for entry in entries:
                    if entry.unavailable is None:
                        _turn(entry, number, processes, peers_python, Path(logs))
                    bar.update()
        finally:
            bar.close()
            for process in processes.values():
                process.close()
    return entries


def _turn(entry: Entry, number: int, processes: dict[str, _Process], peers_python: Path, logs: Path) -> None:
    """Let one contestant run one round; round 0 is the warm-up and starts its process."""
    name = entry.contestant.name
    python = peers_python if entry.contestant.is_peer else Path(sys.executable)
    if not python.exists():
        entry.unavailable = f"no peers' environment at {python}: {REMEDY}"
        return
    try:
        if name not in processes:
            processes[name] = _Process(entry.contestant, python, logs / f"{name}.txt")
            entry.torch = processes[name].torch
        done = processes[name].round()
    except BenchError as error:
        if not entry.contestant.is_peer:
            raise BenchError(f"{name} failed: {error}") from error
        entry.rounds.clear()
        entry.unavailable = f"{error}" + (f": {REMEDY}" if "No module named" in str(error) else "")
        return
    if number:
        entry.rounds.append(done)
    else:
        entry.first = done.facts


def paired(entry: Entry, other: Entry, quantity: str = "cpu_s") -> tuple[float, float, float] | None:
    """Median, min and max of entry / other, round by round; None where one of them did not run."""
    if not entry.rounds or not other.rounds:
        return None
    pairs = zip(entry.rounds, other.rounds, strict=True)
    ratios = [getattr(mine, quantity) / getattr(theirs, quantity) for mine, theirs in pairs]
    return statistics.median(ratios), min(ratios), max(ratios)
