"""Where a failed trial first left the way of a successful trial of its task. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from synde_pipeline.memory.workflows import Path, plain_path
from synde_pipeline.records import Delta


class Parting(NamedTuple):
    """What the two did next after the same steps."""

    after: str
    """The last common step; empty where they parted at once."""
    won: str
    lost: str
    """Empty where the failed trial ended."""


def partings(trials: Iterable[dict[str, list[Delta]]], either: dict[str, str]) -> dict[Parting, list[Delta]]:
    """Each parting with the successful trials that show it.

    Each failed trial is compared with the successful trial of its task that went the same way for longest.

    Args:
        trials: for each task its runs by outcome.
        either: tools that look up the same -> one name for them.
    """
    found: dict[Parting, dict[str, Delta]] = defaultdict(dict)
    for sides in trials:
        wins = [(plain_path(row.path, either), row.trace_uid, row) for row in sides.get("success", ())]
        wins.sort(key=itemgetter(0, 1))
        for row in sides.get("failure", ()):
            lost = plain_path(row.path, either)
            n_same = [_n_same(way, lost) for way, *_ in wins]
            for (way, uid, win), n in zip(wins, n_same, strict=True):
                if n == max(n_same) and n < len(way):
                    there = Parting(way[n - 1] if n else "", way[n], lost[n] if n < len(lost) else "")
                    found[there].setdefault(uid, win)
                    break
    return {parting: [*rows.values()] for parting, rows in found.items()}


def _n_same(one: Path, other: Path) -> int:
    """Length of the longest common prefix."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def advice_of(parting: Parting) -> str:
    """What to do at a parting."""
    if not parting.lost:
        start = f"After {parting.after}, go on" if parting.after else "Begin"
        return f"{start} with {parting.won} instead of ending without it"
    return (
        f"After {parting.after}, call {parting.won}, not {parting.lost}"
        if parting.after
        else (f"Begin with {parting.won}, not {parting.lost}")
    )


def opposite(parting: Parting) -> Parting:
    """The same place, where the other way won."""
    return parting._replace(won=parting.lost, lost=parting.won)


def n_tasks(rows: Sequence[Delta]) -> int:
    """Distinct tasks of rows."""
    return len({row.task_id for row in rows})
