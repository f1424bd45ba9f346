"""The peers of `synde bench retrieval`: LanceDB with and without scalar indexes, faiss, a Python list.

Each gets the same rows and filters and answers with row numbers. Imports nothing of SynDE; faiss is in the peers'
environment, see `worker`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]
Search = Callable[[Any, int, int], list[int]]
"""Query, domain and last day -> rows, nearest first."""


def _rounds(words: Words, search: Search) -> Prepared:
    folder = Path(words["folder"])
    queries, asked = np.load(folder / "queries.npy"), np.load(folder / "asked.npy").tolist()

    def run() -> dict[str, Any]:
        found, wall_ms = [], []
        for query, (domain, day) in zip(queries, asked, strict=True):
            started = time.perf_counter()
            rows = search(query, domain, day)
            wall_ms.append(1000 * (time.perf_counter() - started))
            found.append(rows)
        return {"found": found, "wall_ms": wall_ms}

    return run, lambda: None


def _rows(words: Words) -> tuple[Any, Any, Any]:
    folder = Path(words["folder"])
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    return vectors, np.load(folder / "domains.npy"), np.load(folder / "days.npy")


def lancedb(words: Words) -> Prepared:
    """Exact filtered search of a table.

    With scalar indexes on the filter's columns if `words["indexed"]`; written in the order of the filter, and not as
    rows came, if `words["sorted"]`: then what is kept lies together.
    """
    import lancedb as lance
    import pyarrow as pa
    from lancedb.index import Bitmap, BTree

    vectors, domains, days = _rows(words)
    n, dim = vectors.shape
    order = np.lexsort((days, domains)) if words["sorted"] else np.arange(n)
    schema = pa.schema(
        [("id", pa.int64()), ("domain", pa.string()), ("as_of", pa.int32()), ("vector", pa.list_(pa.float32(), dim))]
    )

    def batches() -> Any:
        for start in range(0, n, 50_000):
            part = order[start : start + 50_000]
            flat = pa.array(vectors[part].reshape(-1))
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(part),
                    pa.array([f"domain{number}" for number in domains[part]]),
                    pa.array(days[part], pa.int32()),
                    pa.FixedSizeListArray.from_arrays(flat, dim),
                ],
                schema=schema,
            )

    database = lance.connect(Path(words["folder"]) / "lance")
    table = database.create_table(words["table"], batches(), schema=schema)
    if words["indexed"]:
        table.create_index("domain", config=Bitmap())
        table.create_index("as_of", config=BTree())
    table.optimize()

    def search(query: Any, domain: int, day: int) -> list[int]:
        asked: Any = table.search(query)
        asked = asked.distance_type("dot").where(f"domain = 'domain{domain}' AND as_of <= {day}")
        return asked.select(["id", "_distance"]).limit(words["k"]).to_arrow()["id"].to_pylist()

    return _rounds(words, search)


def faiss(words: Words) -> Prepared:
    """IndexFlat over the layout that ours has: sorted by domain and day, the filter as a range of rows."""
    import faiss as peer  # type: ignore - of the peers' environment

    peer.omp_set_num_threads(1)
    vectors, domains, days = _rows(words)
    order = np.lexsort((days, domains))
    index = peer.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(order), 50_000):
        index.add(vectors[order[start : start + 50_000]])
    domains, days = domains[order], days[order]
    bounds = np.searchsorted(domains, np.arange(int(domains.max()) + 2))

    def search(query: Any, domain: int, day: int) -> list[int]:
        start, end = bounds[domain], bounds[domain + 1]
        end = start + np.searchsorted(days[start:end], day, side="right")
        chosen = peer.SearchParameters(sel=peer.IDSelectorRange(int(start), int(end)))
        _, rows = index.search(query[None], words["k"], params=chosen)
        return order[rows[0]].tolist()

    return _rounds(words, search)


def python_list(words: Words) -> Prepared:
    """A list of items, the cosine of one after the other: how agents' memories commonly are searched."""
    vectors, domains, days = _rows(words)
    items = list(zip(np.array(vectors), domains.tolist(), days.tolist(), strict=True))

    def search(query: Any, domain: int, day: int) -> list[int]:
        scored = [
            (float(vector @ query) / float(np.linalg.norm(vector) * np.linalg.norm(query)), row)
            for row, (vector, its_domain, its_day) in enumerate(items)
            if its_domain == domain and its_day <= day
        ]
        return [row for _, row in sorted(scored, reverse=True)[: words["k"]]]

    return _rounds(words, search)
