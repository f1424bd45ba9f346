"""`synde bench`: SynDE against its peers, measured here and now. `cli` puts it among the others."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from synde_pipeline.cli_words import AsJson
from synde_pipeline.errors import InputError


class _Bench(StrEnum):
    train = "train"
    prefix = "prefix"
    merge = "merge"
    retrieval = "retrieval"
    fold = "fold"
    ingest = "ingest"


class _Size(StrEnum):
    small = "small"
    large = "large"
    rows_10k = "10k"
    rows_100k = "100k"
    rows_1m = "1M"


_SIZES = {
    _Bench.train: (_Size.small, _Size.large),
    _Bench.prefix: (_Size.small, _Size.large),
    _Bench.merge: (_Size.large, _Size.small),
    _Bench.fold: (_Size.large, _Size.small),
    _Bench.ingest: (_Size.large, _Size.small),
    _Bench.retrieval: (_Size.rows_100k, _Size.rows_10k, _Size.rows_1m),
}
"""Sizes of each bench, the default first."""


def bench(
    name: Annotated[_Bench, typer.Argument(help="What to measure.")],
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds of each contestant, after one to warm up.")] = 5,
    size: Annotated[
        _Size | None,
        typer.Option(
            help="train, prefix: small (4 M parameters, default) or large (60 M). merge: small (0.14 GB) or large "
            "(1.2 GB, default). fold: small (0.1 million deltas) or large (1 million, default). ingest: small (20 MB) "
            "or large (200 MB, default). retrieval: 10k, 100k (default) or 1M rows."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="merge: leave the base for the next call.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure SynDE against its peers on the same work, in turns, one thread each.

    train: optimiser steps of a rank-1 adapter, against TRL, Hugging Face's Trainer and plain torch. prefix: ten-step
    trajectories as one sequence each, against one example per step. merge: adapters into a base, against cp, PEFT and
    mergekit. fold: the memory's ledger folded from nothing, against again after one day changed. ingest: JSON lines
    into Parquet, clean and with 1 % of bad lines, against DuckDB, polars, pydantic + pyarrow and pandas; its rows also
    have kept, aside (lines set aside), wrong (good ones among these, and bad ones that are not) and stopped (the error
    that ended it). retrieval: exact filtered search of memory items, against LanceDB, faiss and a Python list; its rows
    also have cpu_ms_per_query, p50_ms and p99_ms (wall time) and recall_at_3. The peers live in .venv-bench (`make
    bench-setup`); without it their rows say so. CPU seconds, with their minimum and maximum; ratios are medians of
    ratios within a round.

    JSON keys: bench, size, work, machine (cpu, cores, system, python, torch, threads, load_average), rows (each name,
    cpu_s, wall_s, rss_mb, above_floor_mb, n, min, max; or name, n, unavailable), ratios ("PEER_over_ours": median of
    CPU ratios), ratio_ranges, wall_ratios, verdicts (claim, measured, interval, threshold, verdict).
    """
    from synde_pipeline.studies.bench.result import text

    result = _run(name, size, rounds, keep).for_json()
    print(json.dumps(result, ensure_ascii=False) if as_json else text(result))


def _run(name: _Bench, size: _Size | None, rounds: int, keep: bool):  # noqa: ANN202 - imported below
    from synde_pipeline.studies.bench import fold, ingest, merge, retrieval, train

    sizes = _SIZES[name]
    size = size or sizes[0]
    if size not in sizes:
        raise InputError(f"--size is {size} for {name}", expected=" or ".join(sizes))
    if name is _Bench.merge:
        return merge.bench_merge(size, rounds, keep=keep)
    run = {
        _Bench.train: train.bench_train,
        _Bench.prefix: train.bench_prefix,
        _Bench.fold: fold.bench_fold,
        _Bench.ingest: ingest.bench_ingest,
        _Bench.retrieval: retrieval.bench_retrieval,
    }[name]
    return run(size, rounds)
