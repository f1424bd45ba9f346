"""The champion on the engine's model: loaded beside the one before, used by new answers, taken off when unused.

A model that is served merged, or as one exact adapter, is put beside the base as its exact adapter of rank k (law 7):
so all domains share one base and one batch, and a new champion costs its adapters only. A merged model differs from it
by the one rounding to the base's own dtype.
"""

import threading
from dataclasses import dataclass, field

from synde_pipeline.base_model import Base
from synde_pipeline.errors import SyndeError
from synde_pipeline.models.bank import read_bank
from synde_pipeline.models.compose import Entry
from synde_pipeline.models.decide import Decider
from synde_pipeline.models.registry import Served, model_that_lies_there
from synde_pipeline.models.route import Asked
from synde_pipeline.models.serve_as import MERGED, cat_adapter, read_ledger
from synde_pipeline.serving.choice import Choice, Picked, choice_of
from synde_pipeline.serving.engine import Engine
from synde_pipeline.serving.generation import Slot
from synde_pipeline.serving.versions import Version
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import NONE, AdapterBank
from synde_pipeline.training.lora import AdapterWeights


@dataclass
class Loaded:
    """A version whose adapters are on the model."""

    choice: Choice
    routed: AdapterBank | None
    whole: AdapterBank | None
    """One exact adapter for each domain that is served so."""
    owner: "Weights"
    n_users: int = 0

    @property
    def banks(self) -> list[AdapterBank]:
        """All that has to be taken off the model in the end."""
        return [bank for bank in (self.routed, self.whole) if bank is not None]

    @property
    def decider(self) -> Decider:
        """Weighs its adapters against memory."""
        return self.choice.decider

    def pick(self, asked: Asked) -> Picked:
        """Choose the adapter of a task."""
        picked = self.choice.pick(asked)
        bank = self.whole if asked.domain in self.choice.domains else self.routed
        if picked.route.index == NONE or bank is None:
            return picked
        return picked._replace(slot=Slot(bank, picked.route.index))

    def release(self) -> None:
        """It is needed no more here; others may use it."""
        self.owner.release(self)


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

    def acquire(self, version: Version) -> Loaded:
        """A version, on the model until it was released as often as it was acquired.

        Raises:
            LineageError: an adapter is missing, stale, or not the one that was accepted.
        """
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
                self._held.pop(_key(loaded.choice.version), None)
        if is_over:
            self._take_off(loaded)

    def _take_off(self, loaded: Loaded) -> None:
        def work() -> None:
            for bank in loaded.banks:
                bank.remove()
                self.engine.forget(bank)

        try:
            self.engine.call(work)
        except RuntimeError:  # closed: nothing runs on the model any more
            return

    def _load(self, version: Version) -> Loaded:
        choice = choice_of(self.warehouse, version, self.base.hash, self.config)
        routed = read_bank(self.warehouse, choice.rows)
        whole = [self._whole(version.served[domain]) for domain in choice.domains]

        def work() -> tuple[AdapterBank | None, AdapterBank | None]:
            first = _bank(self.base, routed)
            try:
                return first, _bank(self.base, whole)
            except SyndeError:
                if first is not None:
                    first.remove()
                raise

        first, second = self.engine.call(work).result()
        return Loaded(choice, first, second, self)

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
