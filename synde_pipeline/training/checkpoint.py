"""Checkpoints of a training: one file, replaced as a whole, from which an interrupted run goes on to the same bits.

Orders of rows and draws of dropout follow from seed and step, so that factors, moments and the step are all there is.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from synde_pipeline.records import content_hash
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.storage import write_atomically
from synde_pipeline.training.optimise import Optimisation
from synde_pipeline.training.packing import TrainingSequence

_log = logging.getLogger(__name__)
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Checkpoint:
    """Where the checkpoint of one training lies, and what makes it this training's."""

    path: Path
    identity: str
    """Hash of everything that the result follows from."""

    def write(self, optimisation: Optimisation) -> None:
        """Replace the checkpoint by where a training stands now."""
        tensors = {"table": optimisation.engine.bank.table.detach()}
        for g, row in enumerate(optimisation.rows):
            state = optimisation.optimizer.state[row]
            tensors |= {f"{g}.{name}": state[name] for name in _MOMENTS}
        about = {"identity": self.identity, "step": optimisation.step, "curves": optimisation.curves}
        about["peaks"] = optimisation.peaks
        write_atomically(self.path, save({k: t.cpu() for k, t in tensors.items()}, {"synde": json.dumps(about)}))

    def resume(self, optimisation: Optimisation) -> bool:
        """Go on from the checkpoint; False where there is none of this training."""
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, "pt") as file:
                about = json.loads((file.metadata() or {}).get("synde", "{}"))
                if about.get("identity") != self.identity:
                    _log.warning("%s is of another training: starting from the first step", self.path)
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError:
            _log.warning("%s cannot be read: starting from the first step", self.path)
            return False
        table = optimisation.engine.bank.table
        with torch.no_grad():
            table.copy_(tensors["table"])
        for g, row in enumerate(optimisation.rows):
            found = {name: tensors[f"{g}.{name}"] for name in _MOMENTS}
            moments = {name: found[name].to(table.device) for name in _MOMENTS[:2]}
            optimisation.optimizer.state[row] = {**moments, "step": found["step"]}
        optimisation.skip_to(about["step"])
        optimisation.curves = about["curves"]
        optimisation.peaks = about["peaks"]
        return True


def checkpoint_at(
    folder: Path, optimisation: Optimisation, config: TrainingConfig, machine: MachineConfig
) -> Checkpoint:
    """The checkpoint of a training in a folder, before its first step."""
    digest = hashlib.sha256()
    engine = optimisation.engine
    for tensor in (*engine.model.state_dict().values(), engine.bank.table.detach()):
        _add(digest, tensor)
    for group in optimisation.groups:
        digest.update(b"group")
        for one in group:
            _add_sequence(digest, one)
    numbers = machine.model_dump(include={"device", "tokens_at_once", "gradient_checkpointing"})
    rest = {"config": config.model_dump(), "machine": numbers, "way": repr(engine.way)}
    digest.update(content_hash(rest).encode())
    return Checkpoint(_file(folder), digest.hexdigest())


def clear_checkpoint(folder: Path) -> None:
    """Remove a training's checkpoint: its result is published."""
    _file(folder).unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    return folder / "checkpoint.safetensors"


def _add_sequence(digest: Any, one: TrainingSequence) -> None:
    parts: Sequence[Any] = (one.ids, one.targets, one.weights, one.avoid, one.teacher_ids, one.teacher_at)
    for tensor in parts:
        if tensor is not None:
            _add(digest, tensor)


def _add(digest: Any, tensor: Any) -> None:
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
