"""Our side of `synde bench fold`: a whole fold, and one after a recent day changed."""

from collections.abc import Callable
from datetime import timedelta
from itertools import cycle
from typing import Any

from synde_pipeline.memory.curate import Fold
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.studies.bench.fold_work import N_DAYS, START, work

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]

_AS_OF = START + timedelta(N_DAYS)
_CHANGED = START + timedelta(N_DAYS - 2)


def full(words: Words) -> Prepared:
    """From a table of deltas to the hash of the bank, nothing remembered."""
    made, config = work(**words), MemoryConfig()

    def run() -> dict[str, Any]:
        bank = Fold(Ledger.read(made.table), config, made.embed).bank(_AS_OF)
        standings = {status: sum(item.status == status for item in bank.others) for status in ("candidate", "retired")}
        return {"hash": bank.bank_hash[:12], "active": len(bank.items), "deltas": bank.n_deltas, **standings}

    return run, _nothing


def incremental(words: Words) -> Prepared:
    """The hash of the bank after the rows of a recent day changed: every tenth goes, and comes back."""
    made, config = work(**words), MemoryConfig()
    rows = made.on(_CHANGED)
    fewer = rows.take([k for k in range(len(rows)) if k % 10])
    versions = cycle([rows, fewer])
    state = {"fold": Fold(Ledger.read(made.table), config, made.embed)}
    state["fold"].bank(_AS_OF)

    def run() -> dict[str, Any]:
        state["fold"] = state["fold"].replaced(_CHANGED, next(versions))
        bank = state["fold"].bank(_AS_OF)
        return {"hash": bank.bank_hash[:12], "active": len(bank.items), "deltas": bank.n_deltas}

    return run, _nothing


def _nothing() -> None:
    """Rounds leave nothing behind."""
