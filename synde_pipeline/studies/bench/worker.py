"""The contestant's side of a bench: prepares one job, then runs one round of it whenever it is told to.

    python -P worker.py FILE JOB WORDS

FILE holds the function JOB. It is given WORDS (a JSON object), does what is not measured (imports, loading) and returns
two functions: `run`, one round, which returns facts about it, and `tidy`, which puts everything back, unmeasured.
Lines on stdin ask for rounds; each answer is one JSON line. Standard library only: peers run it in their own
environment, where SynDE is not installed.
"""

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = Callable[[dict[str, Any]], tuple[Callable[[], dict[str, Any]], Callable[[], None]]]

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Serve rounds until stdin ends."""
    file, name, words = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up among the answers
    run, tidy = _load(Path(file), name)(json.loads(words))
    _forget_peak()
    floor = _memory_mb("VmRSS")

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    torch = sys.modules.get("torch")
    answer({"torch": getattr(torch, "__version__", None)})
    for _ in sys.stdin:
        _forget_peak()
        cpu, wall = _cpu_seconds(), time.perf_counter()
        facts = run()
        wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
        peak = _memory_mb("VmHWM")
        answer({"cpu_s": cpu, "wall_s": wall, "rss_mb": peak, "above_floor_mb": peak - floor, "facts": facts})
        tidy()


def _load(file: Path, name: str) -> Job:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def _cpu_seconds() -> float:
    """CPU time of this process and of the children that it waited for, user and system."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _forget_peak() -> None:
    """Let the kernel count peak memory from now on; where it cannot, the peak is the one since the start."""
    if _STATUS.exists():
        (_STATUS.parent / "clear_refs").write_text("5", "ascii")


def _memory_mb(field: str) -> float:
    if not _STATUS.exists():  # no Linux: the peak since the start, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    lines = _STATUS.read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


if __name__ == "__main__":
    main()
