"""Laboratories that studies live in: made once for a seed and its knobs, shared by all studies, lived through Dagster.

A laboratory is a home of its own below `study_labs/` of the user's home. What other code lived is thrown away: it is a
cache, made again from its seed.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import one_thread, pin_given
from synde_pipeline.lease import lease
from synde_pipeline.settings import BufferConfig, Settings, SimulationConfig
from synde_pipeline.simulation.demo import defaults, laboratory
from synde_pipeline.simulation.loop import DayRow, Loop
from synde_pipeline.studies.code import code_hash
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.worlds import Laboratory

FOLDER = "study_labs"


def lived(run: StudyRun, seed: int, days: int, **knobs: Any) -> tuple[Laboratory, list[DayRow]]:
    """A laboratory after some days, and the row of each day.

    Args:
        run: of the study that asks.
        seed: of places, conventions, tasks and sampling.
        days: how many are lived.
        knobs: groups of `Settings` that differ from the demo's; those of `SimulationConfig` as `simulation`, a dict.
    """
    settings = _settings(run, seed, days, knobs)
    loop = Loop(settings, partial(run.run_days, settings))
    # Studies run side by side: the second that asks finds the days lived.
    with lease(settings.home, "living"), one_thread():
        pin_given(loop.warehouse, settings)
        rows = [loop.day(number)[0] for number in range(1, days + 1)]
    return Laboratory.open(settings, n_tasks(run)), rows


def n_tasks(run: StudyRun) -> int:
    """Held-out tasks that an arm tries."""
    return 96 if run.is_quick else 480


def sizes(run: StudyRun) -> dict[str, int]:
    """How large the worlds of a preset are."""
    if not run.is_quick:
        return {}
    return {"places": 8, "episodes_per_day": 64, "gate_tasks": 48, "report_tasks": 24}  # a day takes 15 s


def cache(folder: Path, code: str) -> Path:
    """Where what some code lived lies in a folder; what other code lived there is thrown away."""
    home = folder / code[:12]
    for old in folder.glob("*"):
        if old != home:
            shutil.rmtree(old, ignore_errors=True)
    return home


def _settings(run: StudyRun, seed: int, days: int, knobs: dict[str, Any]) -> Settings:
    if run.is_quick:
        knobs = {"buffer": BufferConfig(threshold=60), **knobs}
    simulation = SimulationConfig(seed=seed, **{**sizes(run), **knobs.pop("simulation", {})})
    changed = defaults(seed).model_copy(update={"simulation": simulation, **knobs})
    return laboratory(cache(run.settings.home / FOLDER, code_hash()) / f"{days}-days", changed)
