"""How memory alone follows conventions that change: success by day, before and after half of them are other ones.

    python -m synde_pipeline.studies.drift FOLDER SEED...

Seven days at 24 places; day 4 is the first with the new conventions. Nothing is trained: what changes from day to day
is the memory. The days' own tasks are counted, each tried with what memory knew the evening before.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from synde_pipeline.base_model import one_thread, pin_given
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.settings import MemoryConfig, SimulationConfig
from synde_pipeline.simulation.demo import defaults
from synde_pipeline.simulation.tasks import date_of, tasks_of_day
from synde_pipeline.studies.lived import History, live

N_DAYS, DRIFT_DAY = 7, 4


def lived(home: Path, seed: int, *, min_tasks: int = 1, transient_rate: float = 0.0) -> list[float]:
    """Live a seed's days; returns the share of tasks that succeeded, by day."""
    config = SimulationConfig(seed=seed, drift_day=DRIFT_DAY, transient_rate=transient_rate)
    changed = {"home": home, "simulation": config, "memory": MemoryConfig(min_tasks=min_tasks)}
    world = History(defaults(seed).model_copy(update=changed))
    pin_given(world.warehouse, world.settings)
    for day in range(1, N_DAYS + 1):
        live(world, day, tasks_of_day(config, day))
    days = [load_raw_logs(world.warehouse, date_of(day)) for day in range(1, N_DAYS + 1)]
    return [float(np.mean([run.outcome == "success" for run in runs])) for runs in days]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("expected: a folder to live in, and seeds")
    with one_thread():
        for min_tasks, transient_rate in ((1, 0.0), (2, 0.0), (2, 0.15)):
            for word in sys.argv[2:]:
                home = Path(sys.argv[1]) / f"{min_tasks}-{transient_rate}-{word}"
                found = lived(home, int(word), min_tasks=min_tasks, transient_rate=transient_rate)
                shutil.rmtree(home)
                about = {"min_tasks": min_tasks, "transient_rate": transient_rate, "seed": int(word)}
                sys.stdout.write(json.dumps(about | {"success": [round(value, 4) for value in found]}) + "\n")
                sys.stdout.flush()
