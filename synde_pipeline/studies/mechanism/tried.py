"""A claim under the conditions in which it was tried, and the verdict that follows from intervals and limit.

A condition is met where all of its 95 % interval lies on the claim's side of the limit, and missed where all of it lies
on the other side. An exact claim is met where every single measurement is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.studies.registry import Claim


class Condition(NamedTuple):
    """One way in which a claim was tried."""

    name: str
    values: Sequence[float]
    """One of each independent unit."""


@dataclass(frozen=True)
class Tried:
    """A claim and what was measured of it."""

    id: str
    source: str
    claim: str
    conditions: Sequence[Condition]
    """The first one is the paper's own, and gives the claim's number."""
    limit: float
    is_upper: bool = False
    """Whether values must stay below the limit."""
    is_exact: bool = False

    def states(self) -> list[str]:
        """`met`, `missed` or `open`, by condition."""
        return [self._state(one.values) for one in self.conditions]

    def _state(self, values: Sequence[float]) -> str:
        interval = mean_interval(values)
        if not values or (interval is None and not self.is_exact):
            return "open"
        low, high = interval[1] if interval and not self.is_exact else (min(values), max(values))
        if self.is_upper:
            return "met" if high <= self.limit else "missed" if self.is_exact or low > self.limit else "open"
        return "met" if low >= self.limit else "missed" if self.is_exact or high < self.limit else "open"

    def verdict(self) -> str:
        """`holds exactly`, `holds`, `holds under conditions`, `does not hold` or `not shown`."""
        states = set(self.states())
        if states == {"met"}:
            return "holds exactly" if self.is_exact else "holds"
        if "met" in states:
            return "holds under conditions"
        return "does not hold" if states == {"missed"} else "not shown"

    def as_claim(self, command: str) -> Claim:
        """The claim as the registry keeps it; an exact one shows its worst value and no interval."""
        if self.is_exact:
            every = [value for one in self.conditions for value in one.values]
            measured, error, n = (max if self.is_upper else min)(every), None, len(every)
        else:
            values = self.conditions[0].values
            n, (measured, error) = len(values), mean_of(values)
        return Claim(
            id=f"mechanism.{self.id}",
            source=self.source,
            claim=self.claim,
            measured=measured,
            error=error,
            n=n,
            verdict=self.verdict(),
            command=command,
        )

    def for_json(self) -> dict[str, Any]:
        """Conditions with their intervals, limit and states."""
        rows = []
        for one, state in zip(self.conditions, self.states(), strict=True):
            mean, interval = mean_of(one.values)
            rows.append({"name": one.name, "mean": mean, "interval": interval, "n": len(one.values), "state": state})
        side = "at most" if self.is_upper else "at least"
        return {"id": f"mechanism.{self.id}", "limit": self.limit, "side": side, "conditions": rows}


def mean_of(values: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """Mean and 95 % interval; no interval for a single value, nothing for none."""
    return mean_interval(values) or (values[0] if values else None, None)
