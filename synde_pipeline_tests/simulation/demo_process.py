"""A small demo as a process of its own: what the kill test kills. Arguments: folder, days."""

import sys
from functools import partial
from pathlib import Path

from synde_pipeline.defs.run import run
from synde_pipeline.settings import PRESETS, BufferConfig, MemoryConfig, Settings, SimulationConfig
from synde_pipeline.simulation.demo import Outcome, defaults, laboratory, live

ARMS = ("none", "context", "weights", "dual")


def small(home: Path) -> Settings:
    """Eight places, a day of two dozen tasks, cycles of a few steps: seconds instead of minutes, every part real."""
    changed = {
        "simulation": SimulationConfig(seed=5, episodes_per_day=24, places=8, gate_tasks=8, report_tasks=8),
        "training": PRESETS["world"].model_copy(update={"max_steps": 6, "batch_size": 2}),
        "buffer": BufferConfig(threshold=40),
        "memory": MemoryConfig(min_tasks=1, embedder="hashing"),
    }
    return laboratory(home, defaults(5).model_copy(update=changed))


def demo(home: Path, days: int, say=lambda _: None) -> Outcome:
    """Live the small demo."""
    settings = small(home)
    return live(settings, days, ARMS, partial(run, settings), say, n_tasks=16)


if __name__ == "__main__":
    print("started", flush=True)
    print("state", demo(Path(sys.argv[1]), int(sys.argv[2])).state, flush=True)
