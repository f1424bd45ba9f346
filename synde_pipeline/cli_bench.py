"""`synde bench`: SynDE against its peers, measured here and now. `cli` puts it among the others."""

import json
from enum import StrEnum
from typing import Annotated

import typer


class _Bench(StrEnum):
    train = "train"
    prefix = "prefix"
    merge = "merge"
    fold = "fold"


class _Size(StrEnum):
    small = "small"
    large = "large"


def bench(
    name: Annotated[_Bench, typer.Argument(help="What to measure.")],
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds of each contestant, after one to warm up.")] = 5,
    size: Annotated[
        _Size | None,
        typer.Option(
            help="train, prefix: 4 M (default) or 60 M parameters. merge: 0.14 or 1.2 GB (default). "
            "fold: 0.1 or 1 million deltas (default)."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="merge: leave the base for the next call.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure SynDE against its peers on the same work, in turns, one thread each.

    train: optimiser steps of a rank-1 adapter, against TRL, Hugging Face's Trainer and plain torch. prefix: ten-step
    trajectories as one sequence each, against one example per step. merge: adapters into a base, against cp, PEFT and
    mergekit. fold: the memory's ledger folded from nothing, against again after one day changed. The peers live in
    .venv-bench (`make bench-setup`); without it their rows say so. CPU seconds, with their minimum and maximum; ratios
    are medians of ratios within a round.

    JSON keys: bench, size, work, machine (cpu, cores, system, python, torch, threads, load_average), rows (each name,
    cpu_s, wall_s, rss_mb, above_floor_mb, n, min, max; or name, n, unavailable), ratios ("PEER_over_ours": median of
    CPU ratios), ratio_ranges, wall_ratios, verdicts (claim, measured, interval, threshold, verdict).
    """
    from synde_pipeline.studies.bench.result import text

    result = _run(name, size, rounds, keep).for_json()
    print(json.dumps(result, ensure_ascii=False) if as_json else text(result))


def _run(name: _Bench, size: _Size | None, rounds: int, keep: bool):  # noqa: ANN202 - imported below
    from synde_pipeline.studies.bench import fold, merge, train

    if name is _Bench.merge:
        return merge.bench_merge(size or _Size.large, rounds, keep=keep)
    if name is _Bench.fold:
        return fold.bench_fold(size or _Size.large, rounds)
    run = train.bench_train if name is _Bench.train else train.bench_prefix
    return run(size or _Size.small, rounds)
