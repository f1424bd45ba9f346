"""The models that `/v1/models` lists: the champion, and every version that a domain ever served, with their lineage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synde_pipeline.models.registry import Champion, Served, served_of
from synde_pipeline.models.serve_as import MERGED
from synde_pipeline.storage import Warehouse

CHAMPION = "synde"
"""Name of the model that is whatever is served now."""
BASE = "synde:base"
"""Name of the base without adapters; memory is shown all the same."""


@dataclass(frozen=True)
class Version:
    """One state of what is served."""

    name: str
    served: Mapping[str, Served]
    """Domain -> what is served there; the base alone elsewhere."""
    lineage: Mapping[str, Any]
    """parent, cycle, adapters, and which domains are served by what."""


def champion_version(known: Champion) -> Version:
    """What is served now."""
    domains = {domain: {"kind": served.kind, "cycle": served.cycle} for domain, served in known.domains.items()}
    adapters = [item.model_dump() for served in known.domains.values() for item in served.adapters]
    previous = known.history[-1].previous if known.history else None
    return Version(CHAMPION, known.domains, _lineage(known.hash, previous, None, adapters) | {"domains": domains})


def past_versions(warehouse: Warehouse, known: Champion) -> list[Version]:
    """The models that led to what each domain serves, the newest first; those that were gone back behind are left out.

    A model whose files are other ones now cannot be served, and is left out too.
    """
    found = []
    for domain in sorted(known.domains):
        parent: str | None = None
        line = []
        for decision in known.line(domain):
            name = f"{CHAMPION}:{decision.cycle}"
            header = warehouse.header(MERGED, decision.cycle)
            if header is not None and header.content_hash == decision.model:
                served = served_of(header)
                adapters = [item.model_dump() for item in served.adapters]
                lineage = _lineage(decision.model, parent, decision.cycle, adapters)
                line.append(Version(name, {domain: served}, lineage | {"domains": {domain: _kind(served)}}))
            parent = name
        found += reversed(line)
    return found


def version_named(warehouse: Warehouse, known: Champion, name: str) -> Version | None:
    """The version that a request's `model` names; None where there is none of this name."""
    if name == CHAMPION:
        return champion_version(known)
    if name == BASE:
        return base_version()
    return next((version for version in past_versions(warehouse, known) if version.name == name), None)


def base_version() -> Version:
    """The base alone."""
    return Version(BASE, {}, _lineage(None, None, None, []) | {"domains": {}})


def _kind(served: Served) -> dict[str, str]:
    return {"kind": served.kind, "cycle": served.cycle}


def _lineage(
    model: str | None, parent: str | None, cycle: str | None, adapters: list[dict[str, Any]]
) -> dict[str, Any]:
    return {"hash": model, "parent": parent, "cycle": cycle, "adapters": adapters}
