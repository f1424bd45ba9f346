"""`synde bench ingest`: JSON lines of trajectories into typed Parquet (zstd, level 3), clean and with 1 % of bad lines.

What a bad line is, everyone is told: half of a line, a text for a number, no outcome, a text for a step's number.
Contestants that stop at the first bad line say so; those that go on are asked which lines they set aside.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synde_pipeline.studies.bench import ingest_ours, ingest_peers
from synde_pipeline.studies.bench.contest import PEERS_PYTHON, Contestant, Entry, contest, paired
from synde_pipeline.studies.bench.result import Result, Target

SIZES = {"small": 20, "large": 200}
"""Megabytes of a file."""
DAY = "2025-01-15"
_DIRTY = 0.01
_TENFOLD = 10
_PEERS = ("duckdb", "polars", "pydantic", "pandas")
_TIMES_PYDANTIC = 1.5
_OVER_DUCKDB = 1.25
_OVER_MEMORY = 1.25

_WORDS = (
    "the agent opened a page and found some books of that shelf but two were lent out so it asked the reader which one "
    "should be kept until Monday the answer named another title and price was checked again before renewing"
)


def bench_ingest(size: str, rounds: int, peers_python: Path = PEERS_PYTHON) -> Result:
    """All contestants on the same files."""
    with tempfile.TemporaryDirectory(prefix="synde-bench-") as name:
        folder = Path(name)
        work = write_files(folder, SIZES[size] * 10**6)
        entries = contest(contestants(folder), rounds, peers_python)
    extra = {entry.contestant.name: entry.first for entry in entries if entry.unavailable is None}
    return Result("ingest", size, work, entries, extra, _targets(entries))


def contestants(folder: Path) -> list[Contestant]:
    """Ours and the peers, on the clean file, on the dirty one, and ours on ten times as much and on a whole day.

    A whole day is what `raw_logs` does: the same rows without repeated runs, without secrets, in order, with a hash.
    """
    ours, peers = Path(ingest_ours.__file__), Path(ingest_peers.__file__)
    found = []
    for kind in ("clean", "dirty"):
        words = {"file": str(folder / f"{kind}.jsonl"), "bad": str(folder / f"{kind}.json")}
        mine = f"ours_{kind}"
        found.append(Contestant(mine, ours, "ingest", words, versus=None))
        found += [Contestant(f"{peer}_{kind}", peers, peer, words, is_peer=True, versus=mine) for peer in _PEERS]
    many = {"file": str(folder / "tenfold.jsonl"), "bad": str(folder / "clean.json")}
    whole = {"file": str(folder / "dirty.jsonl"), "day": DAY}
    return [
        *found,
        Contestant("ours_day_dirty", ours, "day", whole, versus="ours_dirty"),
        Contestant("ours_tenfold", ours, "ingest", many, versus="ours_clean"),
    ]


def _targets(entries: Sequence[Entry]) -> list[Target]:
    by_name = {entry.contestant.name: entry for entry in entries}

    def ratio(name: str, other: str, quantity: str = "cpu_s") -> tuple[float | None, tuple[float, float] | None]:
        found = paired(by_name[name], by_name[other], quantity)
        return (None, None) if found is None else (found[0], found[1:])

    dirty, clean = ratio("pydantic_dirty", "ours_dirty"), ratio("ours_clean", "duckdb_clean")
    memory = ratio("ours_tenfold", "ours_clean", "rss_mb")
    return [
        Target("CPU time of pydantic + pyarrow over ours, dirty", dirty[0], _TIMES_PYDANTIC, "at least", dirty[1]),
        Target("CPU time of ours over DuckDB, clean", clean[0], _OVER_DUCKDB, "at most", clean[1]),
        Target("lines that ours set aside wrongly, or did not", by_name["ours_dirty"].first["wrong"], 0, "at most"),
        Target("peak memory of ours, ten times the file", memory[0], _OVER_MEMORY, "at most", memory[1]),
    ]


# -- the files --------------------------------------------------------------------------------------------------------


def write_files(folder: Path, n_bytes: int, seed: int = 0) -> dict[str, Any]:
    """Write `clean.jsonl`, `dirty.jsonl`, both with the numbers of their bad lines beside them, and `tenfold.jsonl`."""
    rng = np.random.default_rng(seed)
    bad: list[int] = []
    n_rows, written = 0, 0
    with (folder / "clean.jsonl").open("wb") as clean, (folder / "dirty.jsonl").open("wb") as dirty:
        while written < n_bytes:
            row = _row(rng, n_rows)
            line = json.dumps(row, separators=(",", ":")).encode()
            clean.write(line + b"\n")
            if rng.random() < _DIRTY:
                bad.append(n_rows)
                line = _damaged(row, line, len(bad) % 4)
            dirty.write(line + b"\n")
            n_rows, written = n_rows + 1, written + len(line) + 1
    (folder / "clean.json").write_text("[]", "utf-8")
    (folder / "dirty.json").write_text(json.dumps(bad), "utf-8")
    with (folder / "tenfold.jsonl").open("wb") as many:
        for _ in range(_TENFOLD):
            many.write((folder / "clean.jsonl").read_bytes())
    return {"trajectories": n_rows, "megabytes": round(written / 1e6, 1), "bad_lines": len(bad)}


def _row(rng: np.random.Generator, number: int) -> dict[str, Any]:
    def text(n: int) -> str:
        return " ".join(rng.choice(_WORDS.split(), n))

    is_success = bool(rng.random() < 0.6)
    steps = [
        {
            "index": k,
            "timestamp": f"{DAY}T10:{k:02d}:00Z",
            "state": text(80),
            "reasoning": text(60),
            "tool": str(rng.choice(["find", "read_page", "renew", "reply"])),
            "arguments": json.dumps({"title": text(4)}, separators=(",", ":")),
            "result": text(160),
            "success": bool(rng.random() < 0.8),
            "confidence": None,
        }
        for k in range(rng.integers(12, 29))
    ]
    return {
        "schema_version": 1,
        "trace_uid": f"bench:{number}",
        "task_id": f"bench:library:{number % 900}",
        "domain": "library",
        "source": "bench",
        "model": "bench",
        "trial": number // 900,
        "day": DAY,
        "started_at": f"{DAY}T10:00:00Z",
        "ended_at": f"{DAY}T10:59:00Z",
        "system": text(60),
        "scope": "site:library",
        "shown_memory": [],
        "task": text(20),
        "steps": steps,
        "outcome": "success" if is_success else "failure",
        "reward": float(is_success),
        "label_source": "verifier",
    }


def _damaged(row: dict[str, Any], line: bytes, kind: int) -> bytes:
    if kind == 0:
        return line[: len(line) // 2]
    if kind == 1:
        row["reward"] = "much"
    elif kind == 2:
        del row["outcome"]
    else:
        row["steps"][3]["index"] = "four"
    return json.dumps(row, separators=(",", ":")).encode()
