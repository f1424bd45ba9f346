"""`synde bench fold`: a large ledger folded from nothing, and again after a recent day changed."""

from pathlib import Path

from synde_pipeline.studies.bench import fold_ours
from synde_pipeline.studies.bench.contest import PEERS_PYTHON, Contestant, contest, paired
from synde_pipeline.studies.bench.fold_work import N_DAYS
from synde_pipeline.studies.bench.result import Result, Target

SIZES = {"small": (100_000, 2_000), "large": (1_000_000, 20_000)}
"""Deltas, and how many of them are ADDs."""

_CPU_S = 60.0
_TIMES = 20.0


def bench_fold(size: str, rounds: int, peers_python: Path = PEERS_PYTHON) -> Result:
    """Both ways on the same ledger; vectors of lessons are given."""
    n_deltas, n_adds = SIZES[size]
    file, words = Path(fold_ours.__file__), {"n_deltas": n_deltas, "n_adds": n_adds}
    contestants = [
        Contestant("ours_incremental", file, "incremental", words, versus=None),
        Contestant("ours_full", file, "full", words, versus="ours_incremental"),
    ]
    incremental, full = entries = contest(contestants, rounds, peers_python)
    ratio = paired(full, incremental)
    measured, interval = (None, None) if ratio is None else (ratio[0], ratio[1:])
    slowest = max((item.cpu_s for item in full.rounds), default=None)
    targets = [
        Target(f"CPU seconds of a whole fold, {size} ledger, slowest round", slowest, _CPU_S, "at most"),
        Target(f"CPU time of a whole fold over one changed day, {size} ledger", measured, _TIMES, "at least", interval),
    ]
    work = {"deltas": n_deltas, "adds": n_adds, "days": N_DAYS} | full.first
    extra = {entry.contestant.name: {"bank": entry.first["hash"]} for entry in entries}
    return Result("fold", size, work, entries, extra, targets)
