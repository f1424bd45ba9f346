"""Which adapter a task gets, or none: that of its scope; without a scope, that of the nearest key if it is near enough.

A scope that is given and unknown is another place by definition: its tasks get the base, however near their texts are.
What keys are and how near is near enough is in `keys`; how adapters are loaded, in `bank`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from synde_pipeline.errors import LineageError
from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.models.keys import DomainKeys, Key
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.training.bank import NONE

Place = tuple[str, str]
"""Domain and scope of a task."""


class Asked(NamedTuple):
    """What the router may know of a task."""

    domain: str
    scope: str
    text: str = ""
    """The task as the agent sees it; without it only the scope counts."""


@dataclass(frozen=True)
class Route:
    """Where a task goes, and why."""

    index: int
    """Of its adapter in the loaded bank, -1 for the plain base."""
    reason: Literal["scope", "nearest", "unknown", "too far"]
    """scope, nearest: what led to the adapter. unknown: nothing to go by. too far: no key is near enough."""
    score: float | None = None
    """Cosine of the nearest key, where one was looked for."""


@dataclass(frozen=True)
class Nearest:
    """The keys of a domain and how near a task has to come."""

    keys: DomainKeys
    threshold: float

    def routes(self, texts: Sequence[str]) -> list[Route]:
        """Route tasks by their texts alone, embedded as the keys were."""
        found = self.keys.nearest(get_embedder(self.keys.embedder).embed(list(texts)))
        return [
            Route(index, "nearest", score) if score > self.threshold else Route(NONE, "too far", score)
            for index, score in found
        ]


@dataclass(frozen=True)
class Router:
    """Looks places up, and compares texts; a scope of another domain is another place, whatever its name."""

    table: dict[Place, int]
    """Place -> index of its adapter in the loaded bank."""
    nearest: Mapping[str, Nearest] = field(default_factory=dict)
    """Domain -> its keys, where tasks without a scope may be routed by them."""

    @classmethod
    def of(
        cls,
        places: Iterable[Iterable[Place]],
        keys: Mapping[int, tuple[str, Key]] | None = None,
        config: ModelsConfig | None = None,
    ) -> "Router":
        """Route each place to the position of the adapter that holds it.

        Args:
            places: what each adapter answers for.
            keys: index of an adapter -> its domain and key.
            config: whether and how strictly keys are used; None routes by scope.

        Raises:
            LineageError: two adapters hold the same place.
        """
        table: dict[Place, int] = {}
        for index, held in enumerate(places):
            for place in held:
                if table.setdefault(place, index) != index:
                    raise LineageError(
                        f"adapters {table[place]} and {index} both claim scope {place[1]!r} of {place[0]}",
                        expected="one adapter a scope",
                        remedy="run the domain's latest cycle again",
                    )
        if config is None or config.route == "scope":
            return cls(table)
        nearest = {}
        for domain, found in keys_by_domain(keys or {}).items():
            threshold = found.evidence().threshold(config.route_error)
            if threshold is not None:
                nearest[domain] = Nearest(found, threshold)
        return cls(table, nearest)

    def route(self, domain: str, scope: str, text: str = "") -> Route:
        """Route one task."""
        return self.routes([Asked(domain, scope, text)])[0]

    def routes(self, asked: Sequence[Asked]) -> list[Route]:
        """Route tasks; the texts of a domain are embedded together."""
        found: dict[int, Route] = {}
        by_text: dict[str, list[int]] = defaultdict(list)
        for k, task in enumerate(asked):
            index = self.table.get((task.domain, task.scope))
            if index is not None:
                found[k] = Route(index, "scope")
            elif task.scope or not task.text or task.domain not in self.nearest:
                found[k] = Route(NONE, "unknown")
            else:
                by_text[task.domain].append(k)
        for domain, numbers in by_text.items():
            routes = self.nearest[domain].routes([asked[k].text for k in numbers])
            found |= dict(zip(numbers, routes, strict=True))
        return [found[k] for k in range(len(asked))]


def keys_by_domain(keys: Mapping[int, tuple[str, Key]]) -> dict[str, DomainKeys]:
    """Stack the keys of each domain's adapters."""
    by_domain: dict[str, dict[int, Key]] = defaultdict(dict)
    for index, (domain, key) in sorted(keys.items()):
        by_domain[domain][index] = key
    stacked = {domain: DomainKeys.of(found) for domain, found in by_domain.items()}
    return {domain: found for domain, found in stacked.items() if found is not None}
