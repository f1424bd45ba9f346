"""`synde bench retrieval`: the three nearest of the items of one domain known as of a day, exactly.

Rows are unit vectors of 384 dimensions in 200 clusters, in four domains, known since one of 365 days; each query asks
for one domain up to a day in the middle of the year: about 12 % of the rows.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synde_pipeline.studies.bench import retrieval_ours, retrieval_peers
from synde_pipeline.studies.bench.contest import PEERS_PYTHON, Contestant, Entry, contest, paired
from synde_pipeline.studies.bench.result import Result, Target

SIZES = {"10k": (10_000, 200), "100k": (100_000, 50), "1M": (1_000_000, 6)}
"""Rows, and queries of a round."""
K = 3
_DIM, _CLUSTERS, _DOMAINS, _DAYS = 384, 200, 4, 365
_CHUNK = 50_000
_ALONE = 1_000_000
"""Rows from which on contestants run one after the other: each holds all rows in memory."""
_LANCEDB = ("lancedb_indexed_sorted", "lancedb_indexed", "lancedb_flat")
"""With scalar indexes and rows in the filter's order, in the order of arrival, and without indexes."""
_TIMES_LANCEDB = 15.0
_TIMES_FAISS = 1.5


def bench_retrieval(size: str, rounds: int, peers_python: Path = PEERS_PYTHON) -> Result:
    """All contestants on the same rows and queries."""
    n_rows, n_queries = SIZES[size]
    with tempfile.TemporaryDirectory(prefix="synde-bench-") as name:
        folder = Path(name)
        truth, kept = write_rows(folder, n_rows, n_queries)
        everybody = contestants(folder)
        if n_rows >= _ALONE:
            entries = [entry for one in everybody for entry in contest([one], rounds, peers_python)]
        else:
            entries = contest(everybody, rounds, peers_python)
    work = {
        "rows": n_rows,
        "dimensions": _DIM,
        "queries": n_queries,
        "k": K,
        "kept_by_filter": round(kept, 3),
        "interleaved": n_rows < _ALONE,
    }
    extra = {entry.contestant.name: _extra(entry, truth) for entry in entries}
    return Result("retrieval", size, work, entries, extra, _targets(size, entries, extra))


def write_rows(folder: Path, n_rows: int, n_queries: int, seed: int = 0) -> tuple[list[list[int]], float]:
    """Write rows and queries where contestants read them.

    Returns:
        The k nearest rows of each query, in double precision, and the mean share of rows that its filter keeps.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((_CLUSTERS, _DIM), dtype=np.float32)
    clusters = rng.integers(0, _CLUSTERS, n_rows + n_queries)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n_rows, _DIM))
    for start in range(0, n_rows, _CHUNK):
        part = slice(start, min(n_rows, start + _CHUNK))
        vectors[part] = _near(centres, clusters[part], rng)
    queries = _near(centres, clusters[n_rows:], rng)
    domains = (clusters % _DOMAINS).astype(np.int64)
    days = rng.integers(0, _DAYS, n_rows)
    asked = np.stack([domains[n_rows:], rng.integers(150, 200, n_queries)], axis=1)
    found = {"domains": domains[:n_rows], "days": days, "queries": queries, "asked": asked}
    for name, array in found.items():
        np.save(folder / f"{name}.npy", array)
    truth, kept = [], []
    for query, (domain, day) in zip(queries, asked, strict=True):
        rows = np.flatnonzero((domains[:n_rows] == domain) & (days <= day))
        scores = np.concatenate(
            [vectors[part].astype(np.float64) @ query for part in np.array_split(rows, 1 + len(rows) // _CHUNK)]
        )
        truth.append(rows[np.argsort(-scores)[:K]].tolist())
        kept.append(len(rows) / n_rows)
    return truth, statistics.mean(kept)


def _near(centres: Any, clusters: Any, rng: np.random.Generator) -> Any:
    found = centres[clusters] + rng.standard_normal((len(clusters), _DIM), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def contestants(folder: Path) -> list[Contestant]:
    """Everybody. LanceDB is what SynDE stores with, so its own environment has it."""
    words = {"folder": str(folder), "k": K}
    peers = Path(retrieval_peers.__file__)
    lance = {
        name: words | {"table": name, "indexed": "indexed" in name, "sorted": "sorted" in name} for name in _LANCEDB
    }
    return [
        Contestant("ours", Path(retrieval_ours.__file__), "ours", words, versus=None),
        Contestant("faiss_range", peers, "faiss", words, is_peer=True),
        *(Contestant(name, peers, "lancedb", told) for name, told in lance.items()),
        Contestant("python_list", peers, "python_list", words),
    ]


def _extra(entry: Entry, truth: list[list[int]]) -> dict[str, Any]:
    """Per query: CPU time, median and 99th percentile of the wall time over all rounds, recall against the truth."""
    if not entry.rounds:
        return {}
    wall = np.concatenate([one.facts["wall_ms"] for one in entry.rounds])
    found = entry.rounds[0].facts["found"]
    hits = [len(set(rows) & set(right)) / len(right) for rows, right in zip(found, truth, strict=True)]
    return {
        "cpu_ms_per_query": round(1000 * statistics.median(one.cpu_s for one in entry.rounds) / len(truth), 4),
        "p50_ms": round(float(np.percentile(wall, 50)), 3),
        "p99_ms": round(float(np.percentile(wall, 99)), 3),
        "recall_at_3": round(statistics.mean(hits), 4),
    }


def _targets(size: str, entries: Sequence[Entry], extra: dict[str, dict[str, Any]]) -> list[Target]:
    by_name = {entry.contestant.name: entry for entry in entries}
    ours = by_name["ours"]
    found = [
        _target(
            f"CPU time over faiss's (flat, range of rows) on the same layout, {size} rows",
            [paired(ours, by_name["faiss_range"])],
            _TIMES_FAISS,
            "at most",
        ),
        Target(f"recall@{K} of ours, {size} rows", extra["ours"]["recall_at_3"], 1.0, "at least"),
    ]
    if size != "1M":
        ratios = [paired(by_name[name], ours) for name in _LANCEDB]
        claim = f"CPU time of LanceDB's best exact path over ours, {size} rows"
        found.insert(0, _target(claim, ratios, _TIMES_LANCEDB, "at least"))
    return found


def _target(
    claim: str,
    ratios: Sequence[tuple[float, float, float] | None],
    threshold: float,
    kind: Literal["at least", "at most"],
) -> Target:
    """A threshold for the least of some ratios (median, min, max over the rounds)."""
    measured = min((ratio for ratio in ratios if ratio), default=None)
    if measured is None:
        return Target(claim, None, threshold, kind)
    return Target(claim, measured[0], threshold, kind, (measured[1], measured[2]))
