"""Of the labels that are said of a run, the one that counts. Pure; where they are kept is in `joins`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from synde_pipeline.logs.choices import Choices
from synde_pipeline.logs.importers.base import Label
from synde_pipeline.records import LabelSource

TRUST: tuple[LabelSource, ...] = ("none", "judge", "user", "human", "verifier")
"""Whose label counts if several speak of one run, the most trusted last."""
Heard = tuple[Path, Label]
"""A label, and the file that says it."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def decided(said: Sequence[Heard], path: Path, choices: Choices) -> Heard | None:
    """The label of a run: of the scores that a person's rule names, else of what its log calls an outcome.

    Args:
        said: labels with the run's key.
        path: the run's own file.
        choices: with the rule.
    """
    heard = [(where, choices.ruled(label) or label) for where, label in said if reaches(where, label, path)]
    ruled = [pair for pair in heard if pair[1].is_ruled]
    surest = _surest(ruled or [pair for pair in heard if pair[1].outcome != "unknown"], path)
    return surest[0] if len({label.outcome for _, label in surest}) == 1 else None


def reaches(where: Path, label: Label, path: Path) -> bool:
    """Whether a label with a run's key speaks of the run in `path`."""
    return not label.below or path.is_relative_to(where.parent)


def _surest(said: Sequence[Heard], path: Path) -> list[Heard]:
    """The labels that count of those of a run: from whom one trusts most, of these the nearest, of these the latest.

    A folder may hold several reports on the same tasks; of those equally near, one that is named after the run's own
    folder is meant. Several are left only where nothing says which one counts.
    """

    def weight(pair: Heard) -> tuple[int, int, bool, datetime]:
        where, label = pair
        is_named = any(part in where.name for part in path.parent.parts)
        return TRUST.index(label.label_source), _n_shared(where.parent, path.parent), is_named, label.at or _LONG_AGO

    most = max(map(weight, said), default=None)
    return [pair for pair in said if weight(pair) == most]


def _n_shared(folder: Path, other: Path) -> int:
    """Leading parts that two folders share, less those of the first one that lead elsewhere."""
    n = next((k for k, (a, b) in enumerate(zip(folder.parts, other.parts, strict=False)) if a != b), None)
    shared = min(len(folder.parts), len(other.parts)) if n is None else n
    return shared - (len(folder.parts) - shared)
