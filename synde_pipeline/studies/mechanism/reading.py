"""Reading values out of the study's report: by seed where there are three or more, else by place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SETTINGS = ("linear regression", "pattern matching", "embedded base")
Report = Mapping[str, Any]


def per_unit(seeds: Sequence[Report], value: Callable[[Report], Sequence[float]]) -> list[float]:
    """Mean over places of each seed where there are three seeds or more, else every place's value."""
    by_seed = [list(value(seed)) for seed in seeds]
    if len(by_seed) >= 3:
        return [sum(values) / len(values) for values in by_seed]
    return [one for values in by_seed for one in values]


def kept(seeds: Sequence[Report], rows: Callable[[Report], Sequence[Mapping[str, float]]]) -> list[float]:
    """Share of what the context achieves, by unit; a seed's share is a ratio of means over its places."""

    def parts(seed: Report) -> list[tuple[float, float]]:
        found = zip(seed["without"], rows(seed), seed["in context"], strict=True)
        return [(bare["error"] - now["error"], bare["error"] - full["error"]) for bare, now, full in found]

    if len(seeds) >= 3:
        return [sum(a for a, _ in parts(seed)) / sum(b for _, b in parts(seed)) for seed in seeds]
    return [a / b for seed in seeds for a, b in parts(seed) if b]


def find(rows: Sequence[Report], **knobs: Any) -> Report:
    """The one row with these values."""
    (row,) = (row for row in rows if all(row[name] == value for name, value in knobs.items()))
    return row


def cosines(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """Cosines of each place's update with the next one's; two places make one pair, not two."""
    return [row["cosine"] for row in (rows[:1] if len(rows) == 2 else rows)]
