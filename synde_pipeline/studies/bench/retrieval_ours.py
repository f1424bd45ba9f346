"""Our side of `synde bench retrieval`: the index that `Memory` searches, over rows of some domains and days."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synde_pipeline.memory.index import Index


def ours(words: dict[str, Any]) -> tuple[Callable[[], dict[str, Any]], Callable[[], None]]:
    """One BLAS product over the slice of a domain up to a day."""
    folder, k = Path(words["folder"]), words["k"]
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    domains, days = np.load(folder / "domains.npy"), np.load(folder / "days.npy")
    index = Index.of(
        [f"{row:08x}" for row in range(len(vectors))], vectors, [f"domain{number}" for number in domains], days
    )
    queries = np.load(folder / "queries.npy")
    asked = [(f"domain{domain}", int(day)) for domain, day in np.load(folder / "asked.npy")]

    def run() -> dict[str, Any]:
        found, wall_ms = [], []
        for query, (domain, day) in zip(queries, asked, strict=True):
            started = time.perf_counter()
            hits = index.search(query, k, domain, day)
            wall_ms.append(1000 * (time.perf_counter() - started))
            found.append([hit.row for hit in hits])
        return {"found": found, "wall_ms": wall_ms}

    return run, lambda: None
