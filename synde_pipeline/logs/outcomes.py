"""Which label of a run counts, where files of one import and the run's own log say several."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from synde_pipeline.logs.choices import Choices
from synde_pipeline.logs.importers.base import Draft, Label
from synde_pipeline.records import LabelSource

Said = dict[str, list[tuple[Path, Label]]]
"""What runs are called -> the labels of them, each with its file."""
_TRUST: tuple[LabelSource, ...] = ("none", "judge", "user", "human", "verifier")
"""Whose label counts if several speak of one run, the most trusted last."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def labelled(draft: Draft, path: Path, said: list[tuple[Path, Label]], choices: Choices) -> Draft:
    """A run with its label: the score that the person's rule names, else what its log calls an outcome.

    Args:
        draft: the run.
        path: its file.
        said: labels of it, and the files that hold them.
        choices: the person's.
    """
    if draft.outcome != "unknown":
        return draft
    said = [*said, *((path, label) for label in draft.labels)]
    heard = [(where, label) for where, label in said if not label.below or path.is_relative_to(where.parent)]
    ruled = [(where, label) for where, given in heard if (label := choices.ruled(given))]
    decided = _surest(ruled or [(where, label) for where, label in heard if label.outcome != "unknown"], path)
    if len({label.outcome for label in decided}) != 1:
        return draft
    label = decided[0]
    return replace(draft, outcome=label.outcome, reward=label.reward, label_source=label.label_source)


def _surest(said: list[tuple[Path, Label]], path: Path) -> list[Label]:
    """The labels that count of those of a run: from whom one trusts most, of these the nearest, of these the latest.

    A folder may hold several reports on the same tasks; of those equally near, one that is named after the run's own
    folder is meant. Several are left only where nothing says which one counts.
    """
    if not said:
        return []

    def weight(pair: tuple[Path, Label]) -> tuple[int, int, bool, datetime]:
        where, label = pair
        is_named = any(part in where.name for part in path.parent.parts)
        return _TRUST.index(label.label_source), _n_shared(where.parent, path.parent), is_named, label.at or _LONG_AGO

    most = max(map(weight, said))
    return [pair[1] for pair in said if weight(pair) == most]


def _n_shared(folder: Path, other: Path) -> int:
    """Leading parts that two folders share, less those of the first one that lead elsewhere."""
    n = next((k for k, (a, b) in enumerate(zip(folder.parts, other.parts, strict=False)) if a != b), None)
    shared = min(len(folder.parts), len(other.parts)) if n is None else n
    return shared - (len(folder.parts) - shared)
