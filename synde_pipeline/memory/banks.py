"""`banks`: the bank as of a day as an artefact. Any day is one lookup, and a fold only where its deltas changed.

A bank is kept with the hash of the set of deltas, of the settings, and of the code that it is the fold of. Reading it
compares them with what is there now; so it can be out of date, never wrong. Removal drops all banks, and begins under
the same lease: what is folded from then on is not kept until it is done.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from synde_pipeline.lease import lease
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.daily import check_embedder
from synde_pipeline.memory.embed import pinned_name
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.memory.store import read_columns, read_rows, read_vectors
from synde_pipeline.memory.trial_contrasts import ARTEFACT as CONTRASTS
from synde_pipeline.memory.trial_contrasts import advice_hash
from synde_pipeline.records import MemoryItem, content_hash
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Header, Warehouse

BANKS = "banks"
_FILE = "bank.jsonl"
_SHOWING = {"top_k", "recall_tokens", "distinct"}
"""Settings that decide what is shown of a bank, not what it holds."""


def bank_as_of(warehouse: Warehouse, config: MemoryConfig, as_of: date) -> Bank:
    """The bank as of a day: read where it was folded from these deltas, else folded and kept.

    Raises:
        LineageError: a day's vectors are another embedder's.
    """
    check_embedder(warehouse, config)
    if header := _kept(warehouse, config, [as_of]).get(as_of):
        return _read(warehouse, header)
    with lease(warehouse.root, BANKS):
        header = _kept(warehouse, config, [as_of]).get(as_of)
        return _read(warehouse, header) if header else next(_folded(warehouse, config, [as_of]))[0]


def counts_as_of(warehouse: Warehouse, config: MemoryConfig, days: Sequence[date]) -> dict[date, dict[str, int]]:
    """What the banks as of some days hold: active items and their tokens, others, orphans.

    Of kept banks only headers are read; the other days are folded from one reading of the ledger, and kept.

    Raises:
        LineageError: a day's vectors are another embedder's.
    """
    check_embedder(warehouse, config)
    kept = _kept(warehouse, config, days)
    if missing := sorted(set(days) - kept.keys()):
        with lease(warehouse.root, BANKS):
            kept |= {bank.as_of: header for bank, header in _folded(warehouse, config, missing)}
    return {day: kept[day].counts for day in days}


def _kept(warehouse: Warehouse, config: MemoryConfig, days: Sequence[date]) -> dict[date, Header]:
    """Headers of the days whose banks were folded from the deltas that are there now."""
    headers = {day: header for day in days if (header := warehouse.header(BANKS, str(day)))}
    if not headers:
        return {}
    rows = read_columns(warehouse, "delta_id", "effective_day", as_of=max(headers))
    inputs = _inputs(rows, sorted(headers), config, advice_hash(warehouse))
    return {day: header for day, header in headers.items() if header.inputs == inputs[day]}


def _inputs(rows: pa.Table, days: Sequence[date], config: MemoryConfig, asked: str) -> dict[date, dict[str, str]]:
    """Day -> what its bank is the fold of; the days are sorted."""
    settings = content_hash(config.model_dump(exclude=_SHOWING) | {"embedder": pinned_name(config.embedder)})
    columns = ("effective_day", "delta_id")
    rows = rows.select(list(columns)).sort_by([(name, "ascending") for name in columns])
    ends = np.searchsorted(rows["effective_day"].to_numpy(), np.array(days, "datetime64[D]"), side="right").tolist()
    running, found = hashlib.sha256(), {}
    for day, start, end in zip(days, [0, *ends], ends, strict=False):
        running.update("".join(f"{name}\n" for name in rows["delta_id"].slice(start, end - start).to_pylist()).encode())
        found[day] = {"deltas": running.hexdigest(), "settings": settings, "rules": _rules_hash()}
        found[day] |= {CONTRASTS: asked} if asked else {}
    return found


@lru_cache(maxsize=1)
def _rules_hash() -> str:
    """Hash of this package's code: a bank that other rules folded is not read."""
    return content_hash([file.read_text("utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))])


def _read(warehouse: Warehouse, header: Header) -> Bank:
    with (warehouse.folder(BANKS, header.key) / _FILE).open(encoding="utf-8") as file:
        about = json.loads(next(file))
        items = tuple(MemoryItem.model_validate_json(line) for line in file)
    orphans = tuple((target, n) for target, n in about["orphans"])
    n, as_of = header.counts["active"], date.fromisoformat(header.key)
    return Bank(as_of, items[:n], about["n_deltas"], items[n:], orphans, tuple(about["digests"]))


def _folded(warehouse: Warehouse, config: MemoryConfig, days: Sequence[date]) -> Iterator[tuple[Bank, Header]]:
    """Fold the banks of sorted days and keep them; under the lease."""
    rows, vectors = read_rows(warehouse, days[-1]), read_vectors(warehouse, days[-1])
    memory = Memory.read(warehouse, config, rows, vectors)
    # Of what is folded, whatever comes meanwhile.
    inputs = _inputs(rows, days, config, memory.advice.content_hash)
    for bank in map(memory.bank, days):
        header = Header(
            artefact=BANKS,
            key=str(bank.as_of),
            content_hash=content_hash({"bank": bank.bank_hash, "inputs": inputs[bank.as_of]}),
            inputs=inputs[bank.as_of],
            counts={
                "active": len(bank.items),
                "tokens": sum(map(n_tokens, bank.items)),
                "others": len(bank.others),
                "orphans": len(bank.orphans),
            },
            info={"bank_hash": bank.bank_hash, "embedder": pinned_name(config.embedder)},
        )
        if not active_path(warehouse).exists():  # else these rows may hold what goes
            warehouse.publish_folder(BANKS, str(bank.as_of), partial(_write, bank), lambda _, made=header: made)
        yield bank, header


def _write(bank: Bank, folder: Path) -> None:
    (folder / _FILE).write_text("\n".join(_lines(bank)), "utf-8")


def _lines(bank: Bank) -> Iterator[str]:
    yield json.dumps({"n_deltas": bank.n_deltas, "orphans": bank.orphans, "digests": bank.digests})
    for item in (*bank.items, *bank.others):
        yield item.model_dump_json()
