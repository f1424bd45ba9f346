"""In-Memory Learning's notes on its benchmark of creatures: momentum, accumulation, label noise."""

from collections.abc import Sequence
from pathlib import Path

from synde_pipeline.studies.registry import Claim


def study(folder: Path, *, quick: bool = False) -> Sequence[Claim]:
    """Not there yet: no claim."""
    (folder / "report.json").write_text("{}", "utf-8")
    return []
