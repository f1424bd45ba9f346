"""A small library's logs and frozen cycles of it: what the tests of this folder put into a warehouse."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.records import Trajectory, split_of
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.daily import publish_examples
from synde_pipeline_tests.helpers import DAY, called, land, trajectory


def days_from(first: date, n: int) -> list[date]:
    return [first + timedelta(days=k) for k in range(n)]


def logs_of(days: Sequence[date], *, per_day: int, domain: str = "library") -> list[Trajectory]:
    """`per_day` runs a day, each of a task of its own; each sixth gives up, each fourth needs a second search.

    Tasks of the `report` split come last: a cycle of all these logs can be evaluated on later days.
    """
    numbers = range(per_day * len(days))
    tasks = sorted(numbers, key=lambda k: split_of(f"test:{domain}:t{k}") == "report")
    found = []
    for k, task in enumerate(tasks):
        book, failed = f"book {k % 9}", k % 6 == 5
        search = ("find", {"title": book}, f"shelf {k % 7}", True)
        miss = ("find", {"name": book}, "Error: argument title is missing", False)
        end = ("reply", "I could not do it.", "", None) if failed else ("renew", {"shelf": k % 7}, "renewed", True)
        found.append(
            trajectory(
                f"test:{domain}-{k}",
                task=f"t{task}",
                domain=domain,
                day=days[k // per_day],
                steps=called(*([miss] if failed or k % 4 == 3 else []), *([] if failed else [search]), end),
                outcome="failure" if failed else "success",
            )
        )
    return found


def train_logs(day: date, n: int, domain: str = "library") -> list[Trajectory]:
    """Some logs of tasks that are learned from, the first with a tool error that it mended."""
    logs = logs_of([day], per_day=4 * n, domain=domain)
    mended = [item for item in logs if split_of(item.task_id) == "train" and item.steps[0].success is False]
    others = [item for item in logs if split_of(item.task_id) == "train" and item not in mended]
    return [*mended[:1], *others][:n]


def freeze_two_cycles(warehouse: Warehouse) -> list[Cycle]:
    """Logs of two domains on one day, up to their frozen cycles; the older one comes first."""
    logs = [item for domain in ("archive", "library") for item in logs_of([DAY], per_day=8, domain=domain)]
    land(warehouse, logs)
    publish_raw_logs(warehouse, DAY)
    publish_reflections(warehouse, DAY)
    publish_examples(warehouse, DAY, Settings())
    frozen, _ = freeze_cycles(warehouse, BufferConfig(threshold=1))
    return frozen


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time of change: equal before and after means nothing was written."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in [root, *root.rglob("*")]
        if path.exists()
    }
