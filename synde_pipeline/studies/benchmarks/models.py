"""Who acts in a benchmark: the endpoint that the settings name, else the local base with the warehouse's champion."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synde_pipeline.base_model import ARTEFACT, Base, folder_hash, load, load_folder, one_thread, resolve
from synde_pipeline.evaluation.arms import learned_tasks
from synde_pipeline.llm import Llm
from synde_pipeline.models.bank import load_bank, served_rows
from synde_pipeline.models.merge import served_model
from synde_pipeline.models.registry import Served, champion
from synde_pipeline.models.route import Asked
from synde_pipeline.settings import Settings
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.studies.benchmarks.actors import Actor, LlmActor, LocalActor
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask

_TINY = 100_000_000
"""Parameters below which a model is called tiny: too small to solve anybody's benchmark."""


@dataclass(frozen=True)
class Actors:
    """Who acts without adapters and with them."""

    plain: Actor
    trained: Actor | None
    why_not: str
    """Why there are no arms with weights; empty where there are."""
    identity: str
    """What the numbers depend on: model and, where there is one, champion."""
    is_tiny: bool = False
    learned: frozenset[str] = frozenset()
    """Task ids that base and champion were trained on."""


@contextmanager
def actors_for(settings: Settings, domain: str, llm: Llm) -> Iterator[Actors]:
    """The actors of a domain, for the time of a block.

    Raises:
        BaseModelError: a base is named and cannot be loaded.
        LineageError: the champion cannot be read, or is not what was promoted.
    """
    if settings.llm.base_url and settings.llm.model:
        name = settings.llm.model
        why = "not applicable: the weights of an endpoint's model are not ours to train"
        yield Actors(LlmActor(llm, name), None, why, f"endpoint:{name}")
        return
    warehouse = Warehouse(settings.warehouse)
    base = _base(warehouse, settings)
    name = str(base.header.info["name"]).rstrip("/").rpartition("/")[2]
    is_tiny = base.model.num_parameters() < _TINY
    plain = LocalActor(base, name=name)
    served = champion(warehouse).domains.get(domain)
    with one_thread() if is_tiny else _as_it_is():
        if served is None:
            why = f"not run: this warehouse has no champion of the domain {domain}"
            yield Actors(plain, None, why, base.hash, is_tiny)
            return
        learned = frozenset(learned_tasks(warehouse, ()))
        with _trained(warehouse, base, served, settings) as trained:
            yield Actors(plain, trained, "", f"{base.hash}:{served.model}", is_tiny, learned)


def _base(warehouse: Warehouse, settings: Settings) -> Base:
    """The warehouse's base, the one that the settings name, or the embedded one; nothing is pinned by measuring."""
    if warehouse.header(ARTEFACT, "") is not None:
        return load(warehouse)
    name = settings.base_model or str(EMBEDDED_BASE)
    folder = resolve(name, settings.base_revision)
    info = {"kind": "given", "name": name if settings.base_model else "embedded base"}
    return load_folder(folder, Header(artefact=ARTEFACT, key="", content_hash=folder_hash(folder), info=info))


@contextmanager
def _trained(warehouse: Warehouse, base: Base, served: Served, settings: Settings) -> Iterator[Actor]:
    if served.kind != "bank":
        merged = Base(served_model(warehouse, served), base.tokenizer, base.header)
        yield LocalActor(merged, name=f"champion {served.cycle}")
        return
    bank = load_bank(warehouse, base.model, served_rows(warehouse, served, base.hash), settings.models)

    def at(task: EnvironmentTask) -> Any:
        asked = Asked(task.task_id.split(":")[1], task.scope, task.text)
        return bank.adapters.routed([route.index for route in bank.routes([asked])])

    try:
        yield LocalActor(base, at, name=f"champion {served.cycle}")
    finally:
        bank.adapters.remove()


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
