"""Routed adapters as artefacts: the bank that serves all scopes seen so far.

Training a cycle's groups is in `grouped`; which scopes share an adapter, in `training.groups`; the arithmetic of a
bank, in `training.bank`; who gets which adapter, in `route`; what was accepted, in `registry`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.errors import LineageError
from synde_pipeline.models.compose import ADAPTERS, Entry, checked_entry, is_routed
from synde_pipeline.models.keys import Key, read_keys
from synde_pipeline.models.registry import Champion, Served, champion
from synde_pipeline.models.route import Asked, Place, Route, Router, keys_by_domain
from synde_pipeline.records import content_hash
from synde_pipeline.settings import ModelsConfig
from synde_pipeline.storage import Header, Warehouse, read_json
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.lora import AdapterWeights, read

TABLE = "bank.json"
ROUTING = "routing.json"
"""What the keys of a bank can tell apart, beside its table."""


@dataclass(frozen=True)
class BankRow:
    """One adapter of a bank that is served."""

    cycle: str
    adapter_hash: str
    """Content hash of the cycle's whole folder of adapters."""
    folder: str
    """Of this adapter inside it."""
    domain: str
    scopes: tuple[str, ...]
    """Those that are routed to it."""

    @property
    def places(self) -> list[Place]:
        """What it answers for."""
        return [(self.domain, scope) for scope in self.scopes]


# -- which adapters are in a bank -----------------------------------------------------------------------------------


def candidate_bank(warehouse: Warehouse, cycle: Cycle, base_hash: str, known: Champion | None = None) -> list[BankRow]:
    """The bank of the domain if this cycle passes: its adapters, and the newest accepted ones of all other scopes.

    Raises:
        LineageError: one of the adapters is missing or was made from other inputs.
    """
    known = known or champion(warehouse)
    entries: list[Entry] = []
    for before in cycles(warehouse):
        header = warehouse.header(ADAPTERS, before.key)
        if before.domain != cycle.domain or before.number >= cycle.number or header is None or not is_routed(header):
            continue
        if known.verdict_on(before.key, header.content_hash):
            entries.append(checked_entry(warehouse, before, base_hash, []))
    return rows_of(warehouse, [*entries, checked_entry(warehouse, cycle, base_hash, [])])


def champion_bank(warehouse: Warehouse, base_hash: str, domains: Iterable[str] | None = None) -> list[BankRow]:
    """The adapters that serving uses, of all domains or of some; domains whose champion is merged have none.

    Raises:
        LineageError: an accepted adapter is missing, stale, or not the one that was accepted.
    """
    known = champion(warehouse).domains
    chosen = known if domains is None else {domain: known[domain] for domain in domains if domain in known}
    return [row for served in chosen.values() for row in served_rows(warehouse, served, base_hash)]


def served_rows(warehouse: Warehouse, served: Served, base_hash: str) -> list[BankRow]:
    """The adapters of a bank that is or would be served; none for a merged model.

    Raises:
        LineageError: one of them is missing, stale, or not the one that was meant.
    """
    if served.kind != "bank":
        return []
    by_key = {cycle.key: cycle for cycle in cycles(warehouse)}
    entries = []
    for item in served.adapters:
        if item.cycle not in by_key:
            raise _gone(item.cycle, "missing", item.adapter)
        entry = checked_entry(warehouse, by_key[item.cycle], base_hash, [])
        if entry.adapter_hash != item.adapter:
            raise _gone(item.cycle, entry.adapter_hash, item.adapter)
        entries.append(entry)
    return rows_of(warehouse, entries)


def _gone(cycle: str, found: str, accepted: str) -> LineageError:
    return LineageError(
        f"{ADAPTERS}[{cycle}] is {found[:12]}",
        expected=f"{accepted[:12]}, which was accepted",
        remedy=f"evaluate cycle {cycle} again, or restore its adapters",
    )


def rows_of(warehouse: Warehouse, entries: Sequence[Entry]) -> list[BankRow]:
    """The adapters of some cycles, oldest first; each scope belongs to the newest one that was trained on it."""
    taken: set[Place] = set()
    rows: list[BankRow] = []
    for entry in reversed(entries):
        found = []
        for line in read_json(warehouse.folder(ADAPTERS, entry.cycle) / TABLE):
            domain, scopes = line["key"]["domain"], line["key"]["scopes"]
            free = tuple(scope for scope in scopes if (domain, scope) not in taken)
            if free:
                found.append(BankRow(entry.cycle, entry.adapter_hash, line["folder"], domain, free))
        taken |= {place for row in found for place in row.places}
        rows = found + rows
    return rows


def bank_hash(rows: Iterable[BankRow]) -> str:
    """Content hash of a bank: its adapters and what is routed to them."""
    return content_hash([asdict(row) for row in rows])


def table_of_rows(rows: Iterable[BankRow]) -> list[dict[str, Any]]:
    """A bank as flat rows for pages and metadata."""
    return [
        {
            "cycle": row.cycle,
            "adapter": row.adapter_hash,
            "alpha": 1.0,
            "folder": row.folder,
            "scopes": ", ".join(row.scopes),
        }
        for row in rows
    ]


def write_table(folder: Path, table: list[dict[str, Any]]) -> None:
    """Write a bank's table."""
    (folder / TABLE).write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def write_bank(folder: Path, rows: Sequence[BankRow], warehouse: Warehouse) -> None:
    """Write the table of a bank (which adapters it holds, and the scopes of each) and what its keys can tell apart."""
    write_table(folder, [asdict(row) for row in rows])
    found = keys_by_domain(keys_of(warehouse, rows))
    about = {}
    for domain, keys in found.items():
        evidence = keys.evidence()
        rates = evidence.rates(ModelsConfig().route_error)
        about[domain] = {"embedder": keys.embedder, "rates": rates, "evidence": asdict(evidence)}
    (folder / ROUTING).write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def keys_of(warehouse: Warehouse, rows: Sequence[BankRow]) -> dict[int, tuple[str, Key]]:
    """Position of an adapter -> its domain and its key, of the scopes that are routed to it."""
    by_cycle: dict[str, dict[str, Key]] = {}
    found: dict[int, tuple[str, Key]] = {}
    for index, row in enumerate(rows):
        if row.cycle not in by_cycle:
            folder = warehouse.folder(ADAPTERS, row.cycle)
            by_cycle[row.cycle] = read_keys(folder, read_json(folder / TABLE))
        if row.folder in by_cycle[row.cycle]:
            found[index] = row.domain, by_cycle[row.cycle][row.folder].only(row.scopes)
    return found


# -- loading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BankOfAdapters:
    """A loaded bank and its router, on the base's model."""

    adapters: AdapterBank
    router: Router

    def routes(self, asked: Sequence[Asked]) -> list[Route]:
        """Where tasks go, and why."""
        return self.router.routes(asked)

    @contextmanager
    def routed(self, places: Sequence[Place]) -> Iterator[None]:
        """Let model calls inside use the adapter of each row's (domain, scope); a single one stands for every row."""
        with self.adapters.routed([route.index for route in self.routes([Asked(*place) for place in places])]):
            yield


def load_bank(
    warehouse: Warehouse, model: Any, rows: Sequence[BankRow], config: ModelsConfig | None = None
) -> BankOfAdapters:
    """Put a bank's adapters on the pinned base's model, side by side.

    Args:
        warehouse: where they lie.
        model: the base's.
        rows: the bank.
        config: of the router; None routes by scope.

    Raises:
        LineageError: an adapter is not the one that the row names, or does not fit the model.
    """
    return BankOfAdapters(AdapterBank.of(model, read_bank(warehouse, rows)), router_of(warehouse, rows, config))


def read_bank(warehouse: Warehouse, rows: Sequence[BankRow]) -> list[AdapterWeights]:
    """The matrices of a bank's adapters, in the order of its rows.

    Raises:
        LineageError: an adapter is not the one that the row names.
    """
    for row in rows:
        header: Header | None = warehouse.header(ADAPTERS, row.cycle)
        if header is None or header.content_hash != row.adapter_hash:
            raise _gone(row.cycle, header.content_hash if header else "missing", row.adapter_hash)
    return [read(warehouse.folder(ADAPTERS, row.cycle) / row.folder) for row in rows]


def router_of(warehouse: Warehouse, rows: Sequence[BankRow], config: ModelsConfig | None = None) -> Router:
    """The router of a bank; its adapters' matrices are not read."""
    places = [row.places for row in rows]
    if config is None or config.route == "scope":
        return Router.of(places)
    return Router.of(places, keys_of(warehouse, rows), config)
