"""`synde bench train` and `synde bench prefix`: tokens per CPU second of training, ours and the peers'."""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synde_pipeline.studies.bench.contest import PEERS_PYTHON, Entry, contest, paired
from synde_pipeline.studies.bench.result import Result, Target
from synde_pipeline.studies.bench.train_work import (
    SIZES,
    STEPS,
    contestants_of_prefix,
    contestants_of_train,
    facts_of,
    sequences,
    shared,
    trajectories,
    write_data,
    write_model,
)

_TIMES_TRL = {"small": 5.0, "large": 2.5}
_TIMES_TRL_PER_STEP = 20.0


def bench_train(size: str, rounds: int, peers_python: Path = PEERS_PYTHON) -> Result:
    """All contestants on the same sequences of lognormal lengths."""
    found = sequences(SIZES[size])
    work = facts_of(found)
    with tempfile.TemporaryDirectory(prefix="synde-bench-") as folder:
        work = {"parameters": write_model(SIZES[size], Path(folder) / "model"), "optimiser_steps": STEPS} | work
        data = write_data(found, Path(folder) / "data.json")
        entries = contest(contestants_of_train(Path(folder) / "model", data), rounds, peers_python)
    by_name = {entry.contestant.name: entry for entry in entries}
    extra = {entry.contestant.name: _extra(entry, by_name, work["tokens"], work["targets"]) for entry in entries}
    times = _TIMES_TRL[size]
    targets = [
        _target(f"CPU time of TRL's default ({form}) over ours, float32, {size} model", by_name, peer, times)
        for peer, form in (("trl_default", "as shipped: bf16 autocast, checkpointing"), ("trl_fp32", "float32"))
    ]
    return Result("train", size, work, entries, extra, targets)


def bench_prefix(size: str, rounds: int, peers_python: Path = PEERS_PYTHON) -> Result:
    """Ten-step append-only trajectories: ours as one sequence each, TRL with one example for each step."""
    found = trajectories(SIZES[size])
    one_each = [shared(trajectory) for trajectory in found]
    steps = [step for trajectory in found for step in trajectory]
    n_steps, n_shared = (sum(len(item["input_ids"]) for item in items) for items in (steps, one_each))
    with tempfile.TemporaryDirectory(prefix="synde-bench-") as folder:
        n_parameters = write_model(SIZES[size], Path(folder) / "model")
        contestants = contestants_of_prefix(
            Path(folder) / "model",
            write_data(one_each, Path(folder) / "shared.json"),
            write_data(steps, Path(folder) / "steps.json"),
        )
        entries = contest(contestants, rounds, peers_python)
    work = {
        "parameters": n_parameters,
        "trajectories": len(found),
        "optimiser_steps": STEPS,
        "examples": len(steps),
        "tokens_one_per_step": n_steps,
        "tokens_shared": n_shared,
        "targets": facts_of(one_each)["targets"],
    }
    by_name = {entry.contestant.name: entry for entry in entries}
    extra = {
        entry.contestant.name: _extra(
            entry, by_name, n_shared if entry is by_name["ours"] else n_steps, work["targets"]
        )
        for entry in entries
    }
    claim = f"CPU time of TRL, one example per step, over ours, one sequence per trajectory, {size} model"
    return Result("prefix", size, work, entries, extra, [_target(claim, by_name, "trl_per_step", _TIMES_TRL_PER_STEP)])


def _extra(entry: Entry, by_name: dict[str, Entry], n_tokens: int, n_targets: int) -> dict[str, Any]:
    """Useful (unpadded) tokens and targets per CPU second, distance to the limit, and whether the work was the same."""
    if not entry.rounds:
        return {}
    cpu_s = statistics.median(item.cpu_s for item in entry.rounds) / STEPS
    values: dict[str, Any] = {
        "tokens_per_cpu_s": round(n_tokens / cpu_s),
        "targets_per_cpu_s": round(n_targets / cpu_s),
    }
    limit = paired(entry, by_name["gemm_limit"]) if "gemm_limit" in by_name else None
    if limit is not None:
        values["over_gemm_limit"] = round(limit[0], 3)
    if "loss" in entry.first:
        values |= {"loss": round(entry.first["loss"], 6), "loss_deviation": _deviation(entry, by_name["ours"])}
    return values


def _deviation(entry: Entry, ours: Entry) -> float:
    """Relative difference of the first step's loss, the largest of all rounds."""
    reference = ours.first["loss"]
    losses: Sequence[float] = [entry.first["loss"], *(item.facts["loss"] for item in entry.rounds)]
    return float(f"{max(abs(loss - reference) / reference for loss in losses):.1e}")


def _target(claim: str, by_name: dict[str, Entry], peer: str, threshold: float) -> Target:
    ratio = paired(by_name[peer], by_name["ours"])
    measured, interval = (None, None) if ratio is None else (ratio[0], ratio[1:])
    return Target(claim, measured, threshold, "at least", interval)
