"""What each step teaches, and how hard. Pure arithmetic on outcomes; examples are put together in `examples`."""

from typing import Literal

from synde_pipeline.records import Outcome, Reflection, Step, Trajectory
from synde_pipeline.settings import TrainingConfig

Signal = Literal["imitate", "avoid", "context"]
"""imitate: cross-entropy on the action. avoid: unlikelihood on it. context: it is only read."""


def signal_of(trajectory: Trajectory, step: Step, reflection: Reflection) -> Signal:
    """What a step is to the learner.

    Steps of runs that succeeded (at least in part) are imitated unless they failed themselves; of a failed run only the
    step where it turned is avoided (synde.txt 6.3, read with care: see design.md on negated targets).
    """
    if trajectory.outcome in ("success", "partial"):
        return "context" if step.success is False else "imitate"
    if trajectory.outcome == "failure" and step.index == reflection.error_step:
        return "avoid"
    return "context"


def weight_of(signal: Signal, outcome: Outcome, config: TrainingConfig) -> float:
    """Contrastive weight of section 6.3: success 1.0, partial 1.5, failure 2.0; context weighs nothing."""
    if signal == "context":
        return 0.0
    if signal == "avoid":
        return config.weight_failure
    return config.weight_partial if outcome == "partial" else config.weight_success
