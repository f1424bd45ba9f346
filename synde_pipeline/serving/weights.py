"""The champion on the engine's model: loaded beside the one before, used by new answers, taken off when unused.

A model that is served merged, or as one exact adapter, is put beside the base as its exact adapter of rank k (law 7):
so all domains share one base and one batch, and a new champion costs its adapters only. A merged model differs from it
by the one rounding to the base's own dtype.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from synde_pipeline.base_model import Base
from synde_pipeline.errors import SyndeError
from synde_pipeline.models.bank import keys_of, read_bank, router_of, served_rows
from synde_pipeline.models.compose import Entry
from synde_pipeline.models.decide import Decider
from synde_pipeline.models.limits import limits_of
from synde_pipeline.models.registry import Served, model_that_lies_there
from synde_pipeline.models.route import Asked, Route, Router, keys_by_domain
from synde_pipeline.models.serve_as import MERGED, cat_adapter, read_ledger
from synde_pipeline.serving.engine import Engine, Slot
from synde_pipeline.serving.versions import Version
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import NONE, AdapterBank
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.lora import AdapterWeights

_UNKNOWN = Route(NONE, "unknown")


class Picked(NamedTuple):
    """Where a task goes in a version."""

    route: Route
    name: str
    """`cycle/folder` of a routed adapter, `cycle` of a domain's one model, empty for the base."""
    slot: Slot | None


@dataclass
class Loaded:
    """A version whose adapters are on the model."""

    version: Version
    router: Router
    names: list[str]
    """Of the routed adapters, by their index."""
    routed: AdapterBank | None
    whole: AdapterBank | None
    """One exact adapter for each domain that is served so."""
    domains: list[str]
    """Of `whole`, by index."""
    decider: Decider
    """Weighs its adapters against memory."""
    n_users: int = 0

    @property
    def banks(self) -> list[AdapterBank]:
        """All that has to be taken off the model in the end."""
        return [bank for bank in (self.routed, self.whole) if bank is not None]

    def pick(self, asked: Asked) -> Picked:
        """Choose the adapter of a task."""
        if self.whole is not None and asked.domain in self.domains:
            index = self.domains.index(asked.domain)
            name = self.version.served[asked.domain].cycle
            return Picked(Route(index, "scope"), name, Slot(self.whole, index))
        if self.routed is None:
            return Picked(_UNKNOWN, "", None)
        route = self.router.routes([asked])[0]
        if route.index == NONE:
            return Picked(route, "", None)
        return Picked(route, self.names[route.index], Slot(self.routed, route.index))


@dataclass
class Weights:
    """The versions that are on the model.

    Args:
        warehouse: where adapters lie.
        base: whose model the engine runs.
        engine: that runs it.
        config: of the router.
    """

    warehouse: Warehouse
    base: Base
    engine: Engine
    config: ModelsConfig
    _held: dict[str, Loaded] = field(default_factory=dict)
    """Content of a version -> it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def use(self, version: Version) -> Iterator[Loaded]:
        """A version, on the model for the time of a block, and as long afterwards as it is kept.

        Raises:
            LineageError: an adapter is missing, stale, or not the one that was accepted.
        """
        loaded = self.acquire(version)
        try:
            yield loaded
        finally:
            self.release(loaded)

    def acquire(self, version: Version) -> Loaded:
        """As `use`; `release` has to follow."""
        key = _key(version)
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                held.n_users += 1
                return held
        with self._loading:  # one at a time; those who use a version that is there do not wait
            with self._lock:
                held = self._held.get(key)
            if held is None:
                held = self._load(version)
            with self._lock:
                self._held[key] = held
                held.n_users += 1
        return held

    def release(self, loaded: Loaded) -> None:
        """Somebody needs a version no more."""
        with self._lock:
            loaded.n_users -= 1
            is_over = loaded.n_users == 0
            if is_over:
                self._held.pop(_key(loaded.version), None)
        if is_over:
            self._take_off(loaded)

    def _take_off(self, loaded: Loaded) -> None:
        def work() -> None:
            for bank in loaded.banks:
                bank.remove()

        try:
            self.engine.call(work)
        except RuntimeError:  # closed: nothing runs on the model any more
            return

    def _load(self, version: Version) -> Loaded:
        rows = [
            row for served in version.served.values() for row in served_rows(self.warehouse, served, self.base.hash)
        ]
        routed = read_bank(self.warehouse, rows)
        domains = [domain for domain, served in version.served.items() if served.kind != "bank"]
        whole = [self._whole(version.served[domain]) for domain in domains]
        router = router_of(self.warehouse, rows, self.config)

        def work() -> tuple[AdapterBank | None, AdapterBank | None]:
            first = _bank(self.base, routed)
            try:
                return first, _bank(self.base, whole)
            except SyndeError:
                if first is not None:
                    first.remove()
                raise

        names = [f"{row.cycle}/{row.folder}" for row in rows]
        first, second = self.engine.call(work).result()
        keys = keys_by_domain(keys_of(self.warehouse, rows))
        limits = limits_of(self.warehouse, version.served)
        trained = {cycle.key: cycle.last_day for cycle in cycles(self.warehouse)}
        return Loaded(version, router, names, first, second, domains, Decider(keys, trained, limits))

    def _whole(self, served: Served) -> AdapterWeights:
        remedy = f"evaluate cycle {served.cycle} again, or roll back"
        header = model_that_lies_there(
            self.warehouse, MERGED, served.cycle, served.model, which="is served", remedy=remedy
        )
        entries = [Entry(row["cycle"], row["adapter"], row["alpha"]) for row in header.info["adapters"]]
        return cat_adapter(read_ledger(self.warehouse, entries))


def _bank(base: Base, adapters: list[AdapterWeights]) -> AdapterBank | None:
    return AdapterBank.of(base.model, adapters) if adapters else None


def _key(version: Version) -> str:
    return repr(sorted((domain, served.model) for domain, served in version.served.items()))
