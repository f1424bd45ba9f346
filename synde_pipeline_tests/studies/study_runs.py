"""Runs of studies for tests: quick, in a folder of their own, with Dagster's real `run`."""

from pathlib import Path

from synde_pipeline.defs.run import run
from synde_pipeline.settings import Settings
from synde_pipeline.studies.study import StudyRun


def quick_run(name: str, folder: Path) -> StudyRun:
    """A quick run that writes into a folder, with a home beside it."""
    return StudyRun(name, "quick", folder, Settings(home=folder / "home"), run)
