"""Which adapter of a version a task gets, by name: nothing is loaded but keys. Adapters on a model are `weights`."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from synde_pipeline.models.bank import BankRow, keys_of, router_of, served_rows
from synde_pipeline.models.decide import Decider
from synde_pipeline.models.limits import limits_of
from synde_pipeline.models.route import Asked, Route, Router, keys_by_domain
from synde_pipeline.serving.generation import Slot
from synde_pipeline.serving.versions import Version
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import NONE
from synde_pipeline.training.cycles import cycles


class Picked(NamedTuple):
    """Where a task goes in a version."""

    route: Route
    name: str
    """`cycle/folder` of a routed adapter, `cycle` of a domain's one model, empty for the base."""
    slot: Slot | None = None
    """On the engine's model; None where another server has it."""


class Chooser(Protocol):
    """A version in use."""

    @property
    def decider(self) -> Decider:
        """Weighs its adapters against memory."""
        ...

    def pick(self, asked: Asked) -> Picked:
        """Choose the adapter of a task."""
        ...

    def release(self) -> None:
        """It is needed no more."""
        ...


class Versions(Protocol):
    """Where versions come from."""

    def acquire(self, version: Version) -> Chooser:
        """A version, until it is released; LineageError where an adapter is not the accepted one."""
        ...


@dataclass(frozen=True)
class Choice:
    """A version's adapters and who gets them."""

    version: Version
    rows: list[BankRow]
    """The routed ones, in the order of the router's indices."""
    router: Router
    domains: list[str]
    """Served by one model each, in the order of its index."""
    decider: Decider

    def pick(self, asked: Asked) -> Picked:
        """Choose the adapter of a task."""
        if asked.domain in self.domains:
            return Picked(Route(self.domains.index(asked.domain), "scope"), self.version.served[asked.domain].cycle)
        route = self.router.routes([asked])[0]
        if route.index == NONE:
            return Picked(route, "")
        row = self.rows[route.index]
        return Picked(route, f"{row.cycle}/{row.folder}")

    def release(self) -> None:
        """Nothing is held."""


def choice_of(warehouse: Warehouse, version: Version, base_hash: str, config: ModelsConfig) -> Choice:
    """Read a version's tables and keys.

    Raises:
        LineageError: an adapter is missing, stale, or not the one that was accepted.
    """
    rows = [row for served in version.served.values() for row in served_rows(warehouse, served, base_hash)]
    domains = [domain for domain, served in version.served.items() if served.kind != "bank"]
    trained = {cycle.key: cycle.last_day for cycle in cycles(warehouse)}
    decider = Decider(keys_by_domain(keys_of(warehouse, rows)), trained, limits_of(warehouse, version.served))
    return Choice(version, rows, router_of(warehouse, rows, config), domains, decider)


@dataclass(frozen=True)
class Named:
    """Versions whose adapters another server holds, by name."""

    warehouse: Warehouse
    base_hash: str
    config: ModelsConfig

    def acquire(self, version: Version) -> Choice:
        """Read a version; LineageError as of `choice_of`."""
        return choice_of(self.warehouse, version, self.base_hash, self.config)
