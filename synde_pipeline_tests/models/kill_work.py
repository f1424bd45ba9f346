"""Work on a warehouse in a process of its own: what the kill tests kill. Arguments: home, template, and what to do."""

import shutil
import sys
from pathlib import Path

from synde_pipeline.evaluation.due import due_cycles
from synde_pipeline.lease import lease
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.gc import collect, plan
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.overrule import carry_out, promotion, rollback
from synde_pipeline.models.registry import champion
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import cycles


def train(warehouse: Warehouse, template: Warehouse) -> None:
    """Train every cycle's adapters as in the template, with a checkpoint after each step."""
    for cycle in cycles(warehouse):
        header = template.header(ADAPTERS, cycle.key)
        assert header is not None
        config = TrainingConfig.model_validate(header.info["config"])
        train_cycle(warehouse, cycle, config, machine=MachineConfig(checkpoint_every=1))


def merge(warehouse: Warehouse) -> None:
    """Merge every cycle anew."""
    for cycle in cycles(warehouse):
        merge_cycle(warehouse, cycle)


def move(warehouse: Warehouse) -> None:
    """Go back and forth, collecting on the way, and end at the second cycle; each step is one that may be repeated."""
    first, second, third = cycles(warehouse)
    for back, forth in ((first, third), (second, first), (third, second)):
        if champion(warehouse).domains:
            carry_out(warehouse, rollback(warehouse, to=back.key), "")
        collect(warehouse, plan(warehouse, frozenset({first.key, second.key, third.key}), 0))
        carry_out(warehouse, promotion(warehouse, forth.key), "")
    assert due_cycles(warehouse) == []


if __name__ == "__main__":
    home, template, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if not home.exists():
        stage = home.with_name(f"{home.name}-stage")
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(template, stage)
        for artefact in {"train": [ADAPTERS, MERGED], "merge": [MERGED]}.get(what, []):
            shutil.rmtree(stage / artefact)
        stage.rename(home)
    warehouse = Warehouse(home)
    print("started", flush=True)
    with lease(warehouse.root, "training"):
        if what == "train":
            train(warehouse, Warehouse(template))
        else:
            {"merge": merge, "move": move}[what](warehouse)
