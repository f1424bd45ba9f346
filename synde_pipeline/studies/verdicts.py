"""From intervals to words: the only place where a study's verdict is made."""

from collections.abc import Iterable, Sequence
from typing import Literal

Interval = tuple[float, float]
HOLDS, EXACTLY, CONDITIONS, NOT, UNDECIDED, NOT_RUN = (
    "holds",
    "holds exactly",
    "holds under conditions",
    "does not hold",
    "not shown",
    "not run",
)


def against(interval: Interval | None, threshold: float = 0.0, *, wanted: Literal["above", "below"] = "above") -> str:
    """Whether an interval lies on the wanted side of a threshold: holds, does not hold, or not shown either way."""
    if interval is None:
        return NOT_RUN
    low, high = interval if wanted == "above" else (-interval[1], -interval[0])
    limit = threshold if wanted == "above" else -threshold
    return HOLDS if low > limit else NOT if high < limit else UNDECIDED


def exactly(errors: Iterable[float], tolerance: float) -> str:
    """Whether an identity holds within a numerical tolerance in every case that was tried."""
    found = list(errors)
    if not found:
        return NOT_RUN
    within = [error <= tolerance for error in found]
    return EXACTLY if all(within) else CONDITIONS if any(within) else NOT


def together(verdicts: Sequence[str]) -> str:
    """One verdict on the same sentence under several conditions: it holds in all, in some, in none of them."""
    decided = [word for word in verdicts if word not in (UNDECIDED, NOT_RUN)]
    if not decided:
        return UNDECIDED if UNDECIDED in verdicts else NOT_RUN
    if any(word in (HOLDS, EXACTLY, CONDITIONS) for word in decided):
        is_everywhere = len(set(verdicts)) == 1
        return verdicts[0] if is_everywhere else CONDITIONS
    return NOT if len(decided) == len(verdicts) else UNDECIDED


def all_of(verdicts: Sequence[str]) -> str:
    """One verdict on conditions that must hold together: it does not hold as soon as one of them does not."""
    for word in (NOT, NOT_RUN, UNDECIDED, CONDITIONS):
        if word in verdicts:
            return word
    return HOLDS if verdicts else NOT_RUN
