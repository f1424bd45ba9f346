"""A claim under the conditions in which it was tried, and the verdict that follows from intervals and limit.

A condition is met where all of its 95 % interval lies on the claim's side of the limit, and missed where all of it lies
on the other side. An exact claim wants every single measurement at most at its limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.studies.verdicts import NOT_RUN, UNDECIDED, against, exactly, together


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
    """Whether every single value must be within the limit, and the worst one is what is shown."""
    is_identity: bool = False
    """Judged by every single value too, for distances, which are never below zero; shown as a mean."""

    def verdicts(self) -> list[str]:
        """The verdict under each condition alone."""
        return [self._verdict(one.values) for one in self.conditions]

    def _verdict(self, values: Sequence[float]) -> str:
        if self.is_exact or self.is_identity:
            return exactly(values, self.limit)
        interval = mean_of(values)[1]
        if interval is None:
            return UNDECIDED if values else NOT_RUN
        return against(interval, self.limit, wanted="below" if self.is_upper else "above")

    def measured(self) -> dict[str, Any]:
        """What a claim says of it; an exact one shows its worst value and no interval."""
        if self.is_exact:
            every = [value for one in self.conditions for value in one.values]
            number, error, n = max(every), None, len(every)
        else:
            values = self.conditions[0].values
            n, (number, error) = len(values), mean_of(values)
        side = "at most" if self.is_upper or self.is_exact else "at least"
        what = "worst of all" if self.is_exact else f"{self.conditions[0].name}, of {len(self.conditions)} conditions"
        return {
            "measured": number,
            "error": error,
            "n": n,
            "verdict": together(self.verdicts()),
            "what": f"{what}; {side} {self.limit:g} wanted",
        }

    def rows(self) -> list[dict[str, Any]]:
        """Every condition with its interval and verdict, as lines of a table."""
        found = []
        for one, verdict in zip(self.conditions, self.verdicts(), strict=True):
            mean, interval = mean_of(one.values)
            row = {"claim": self.id, "condition": one.name, "mean": mean, "95 %": interval, "n": len(one.values)}
            found.append({**row, "limit": self.limit, "verdict": verdict})
        return found


def mean_of(values: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """Mean and 95 % interval; no interval for a single value, nothing for none."""
    return mean_interval(values) or (values[0] if values else None, None)
