"""CPU seconds that trainings took, beside the artefacts: no part of any content, only good for estimates."""

import json
from collections.abc import Iterable

from synde_pipeline.storage import Warehouse, read_json, write_atomically

FILE = "timings.json"


def note_training(warehouse: Warehouse, cycle: str, cpu_s: float, steps: int) -> None:
    """Remember what training a cycle cost; call it under the training lease."""
    found = {**_read(warehouse), cycle: {"cpu_s": round(cpu_s, 2), "steps": steps}}
    write_atomically(warehouse.root / FILE, json.dumps(found, indent=1, sort_keys=True) + "\n")


def seconds_per_step(warehouse: Warehouse) -> float | None:
    """Mean CPU seconds of an optimiser step, over all trainings that were noted; None while there is none."""
    rows = _read(warehouse).values()
    steps = sum(row["steps"] for row in rows)
    return sum(row["cpu_s"] for row in rows) / steps if steps else None


def cost_of(warehouse: Warehouse, cycles: Iterable[str]) -> float | None:
    """CPU seconds that the trainings of some cycles took; None where none of them was timed."""
    found = _read(warehouse)
    known = [found[key]["cpu_s"] for key in cycles if key in found]
    return round(sum(known), 2) if known else None


def _read(warehouse: Warehouse) -> dict[str, dict[str, float]]:
    path = warehouse.root / FILE
    return read_json(path) if path.exists() else {}
