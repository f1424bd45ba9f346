"""`banks`: the bank as of a day as an artefact. Any day is one lookup, and a fold only where its deltas changed.

A bank is kept with the hash of the set of deltas, of the settings, and of the code that it is the fold of. Reading it
compares them with what is there now; so it can be out of date, never wrong. Removal drops all banks, and begins under
the same lease: what is folded from then on is not kept until it is done.
"""

import json
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from pathlib import Path

from synde_pipeline.lease import lease
from synde_pipeline.logs.tombstones import active_path
from synde_pipeline.memory.curate import Bank, Fold
from synde_pipeline.memory.daily import check_embedder
from synde_pipeline.memory.embed import pinned_name
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.store import delta_ids, read_rows, read_vectors
from synde_pipeline.memory.trial_contrasts import ARTEFACT as CONTRASTS
from synde_pipeline.memory.trial_contrasts import advice_hash, read_advice
from synde_pipeline.memory.vectors import KeptVectors
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
    kept = _kept(warehouse, as_of, _inputs(delta_ids(warehouse, as_of), config, advice_hash(warehouse)))
    if kept is not None:
        return kept
    with lease(warehouse.root, BANKS):
        inputs = _inputs(delta_ids(warehouse, as_of), config, advice_hash(warehouse))
        return _kept(warehouse, as_of, inputs) or _folded(warehouse, config, as_of)


def _inputs(ids: list[str], config: MemoryConfig, asked: str) -> dict[str, str]:
    settings = config.model_dump(exclude=_SHOWING) | {"embedder": pinned_name(config.embedder)}
    inputs = {"deltas": content_hash(sorted(ids)), "settings": content_hash(settings), "rules": _rules_hash()}
    return inputs | ({CONTRASTS: asked} if asked else {})


@lru_cache(maxsize=1)
def _rules_hash() -> str:
    """Hash of this package's code: a bank that other rules folded is not read."""
    return content_hash([file.read_text("utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))])


def _kept(warehouse: Warehouse, as_of: date, inputs: dict[str, str]) -> Bank | None:
    header = warehouse.header(BANKS, str(as_of))
    if header is None or header.inputs != inputs:
        return None
    with (warehouse.folder(BANKS, str(as_of)) / _FILE).open(encoding="utf-8") as file:
        about = json.loads(next(file))
        items = tuple(MemoryItem.model_validate_json(line) for line in file)
    orphans = tuple((target, n) for target, n in about["orphans"])
    n = header.counts["active"]
    return Bank(as_of, items[:n], about["n_deltas"], items[n:], orphans, tuple(about["digests"]))


def _folded(warehouse: Warehouse, config: MemoryConfig, as_of: date) -> Bank:
    table, vectors = read_rows(warehouse, as_of), read_vectors(warehouse, as_of)
    ledger = Ledger.read(table)
    known = {row.delta.key_text: vectors[row.delta_id] for row in ledger.rows if row.delta_id in vectors}
    kept = KeptVectors(warehouse, pinned_name(config.embedder))
    advice = read_advice(warehouse)
    bank = Fold(ledger, config, Memory([], config, known, kept).embed, advice=advice).bank(as_of)
    # Of what was folded, whatever came meanwhile.
    inputs = _inputs(table["delta_id"].to_pylist(), config, advice.content_hash)
    header = Header(
        artefact=BANKS,
        key=str(as_of),
        content_hash=content_hash({"bank": bank.bank_hash, "inputs": inputs}),
        inputs=inputs,
        counts={"active": len(bank.items), "others": len(bank.others), "orphans": len(bank.orphans)},
        info={"bank_hash": bank.bank_hash, "embedder": pinned_name(config.embedder)},
    )

    if active_path(warehouse).exists():  # these rows may hold what goes
        return bank

    def write(folder: Path) -> None:
        (folder / _FILE).write_text("\n".join(_lines(bank)), "utf-8")

    warehouse.publish_folder(BANKS, str(as_of), write, lambda _: header)
    return bank


def _lines(bank: Bank) -> Iterator[str]:
    yield json.dumps({"n_deltas": bank.n_deltas, "orphans": bank.orphans, "digests": bank.digests})
    for item in (*bank.items, *bank.others):
        yield item.model_dump_json()
