"""What the frozen base says, as far as a loss refers to it: reference probabilities, and a teacher's predictions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.engine import Engine
from synde_pipeline.training.packing import MicroBatch, TrainingSequence

TEACHER_BYTES = 1 << 30
"""Memory for teachers' predictions, as float32; above, each step asks again."""


def with_references(
    engine: Engine, sequences: Sequence[TrainingSequence], config: TrainingConfig
) -> list[TrainingSequence]:
    """Sequences with everything that can be computed once."""
    found = list(sequences)
    if config.failures == "npo":
        asked = [k for k, one in enumerate(found) if bool(one.avoid.any())]
        for k, logits in engine.base_logits([found[k] for k in asked]):
            one = found[asked[k]]
            log_p = logits.float().log_softmax(-1).gather(-1, one.ids[one.targets].to(logits.device)[:, None])
            found[asked[k]] = replace(one, base_log_p=log_p.squeeze(-1).cpu())
        found = [
            replace(one, base_log_p=torch.zeros(len(one.targets))) if one.base_log_p is None else one for one in found
        ]
    taught = [k for k, one in enumerate(found) if one.teacher_ids is not None and len(one.teacher_at)]
    n_bytes = 4 * engine.vocabulary * sum(len(found[k].teacher_at) for k in taught)
    if taught and n_bytes <= TEACHER_BYTES:
        for k, logits in engine.base_logits([_lesson(found[k]) for k in taught]):
            log_p = logits.float().log_softmax(-1)
            found[taught[k]] = replace(found[taught[k]], teacher_log_p=log_p.cpu())
    return found


def taught_targets(part: MicroBatch) -> Any:
    """(targets,), bool: those that follow a teacher."""
    flags = [
        ~one.sequence.avoid if one.sequence.teacher_ids is not None else torch.zeros_like(one.sequence.avoid)
        for one in part.items
    ]
    return torch.cat(flags).to(part.ids.device)


def teacher_log_p(engine: Engine, part: MicroBatch) -> Any:
    """(taught, vocabulary), what the teachers of a micro-batch predict; None where it has none."""
    sequences = [item.sequence for item in part.items if item.sequence.teacher_ids is not None]
    if not any(len(one.teacher_at) for one in sequences):
        return None
    known = {k: one.teacher_log_p for k, one in enumerate(sequences)}
    asked = [k for k, one in enumerate(sequences) if one.teacher_log_p is None]
    for k, logits in engine.base_logits([_lesson(sequences[k]) for k in asked]):
        known[asked[k]] = logits.float().log_softmax(-1)
    return torch.cat([known[k].to(part.ids.device) for k in range(len(sequences)) if known[k] is not None])


def _lesson(one: TrainingSequence) -> TrainingSequence:
    """What the teacher reads, as a sequence whose targets are those that it is asked for."""
    n = len(one.teacher_at)
    return TrainingSequence(one.teacher_ids, one.teacher_at, torch.ones(n), torch.zeros(n, dtype=torch.bool))
