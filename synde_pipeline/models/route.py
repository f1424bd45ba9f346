"""Which adapter a task gets, or none. Exact scope: a site that no adapter was trained on gets the base.

What the adapters are and how they are loaded is in `bank`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from synde_pipeline.errors import LineageError
from synde_pipeline.training.bank import NONE

Place = tuple[str, str]
"""Domain and scope of a task."""


@dataclass(frozen=True)
class Router:
    """Looks places up; a scope of another domain is another place, whatever its name."""

    table: dict[Place, int]
    """Place -> index of its adapter in the loaded bank."""

    @classmethod
    def of(cls, keys: Iterable[Iterable[Place]]) -> "Router":
        """Route each place to the position of the key that holds it.

        Raises:
            LineageError: two keys hold the same place.
        """
        table: dict[Place, int] = {}
        for index, places in enumerate(keys):
            for place in places:
                if table.setdefault(place, index) != index:
                    raise LineageError(
                        f"adapters {table[place]} and {index} both claim scope {place[1]!r} of {place[0]}",
                        expected="one adapter a scope",
                        remedy="run the domain's latest cycle again",
                    )
        return cls(table)

    def route(self, domain: str, scope: str) -> int:
        """Index of the adapter of a task, -1 for the plain base."""
        return self.table.get((domain, scope), NONE)
