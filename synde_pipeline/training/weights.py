"""What each step teaches, and how hard. Pure arithmetic on outcomes; examples are put together in `examples`."""

from itertools import takewhile
from typing import Literal

from synde_pipeline.records import Outcome, Reflection, Step, Trajectory
from synde_pipeline.settings import TrainingConfig

Signal = Literal["imitate", "avoid", "context", "repaired"]
"""imitate: cross-entropy on the action. avoid: unlikelihood on it. context: it is only read. repaired: a failed attempt
that a later call mended; training sequences leave it out (hindsight cleaning)."""


def signals_of(trajectory: Trajectory, reflection: Reflection, config: TrainingConfig) -> list[Signal]:
    """What each step is to the learner.

    Credit by `outcome`: steps of runs that succeeded (at least in part) are imitated unless they failed themselves; of
    a failed run only the step where it turned is avoided (synde.txt 6.3, read with care: design.md on negated targets).
    Credit by `step`, for logs whose environment judges each action: what made progress is imitated, also in runs that
    failed; what did not is avoided, or left out where the same tool made it good at once.
    """
    if config.credit == "step":
        return [_by_step(trajectory, step, reflection) for step in trajectory.steps]
    return [_by_outcome(trajectory, step, reflection) for step in trajectory.steps]


def _by_step(trajectory: Trajectory, step: Step, reflection: Reflection) -> Signal:
    if step.success is None:
        return _by_outcome(trajectory, step, reflection)
    if step.success:
        return "imitate"
    following = trajectory.steps[step.index + 1 :]
    tries = list(takewhile(lambda later: later.tool == step.tool, following))
    return "repaired" if any(later.success for later in tries) else "avoid"


def _by_outcome(trajectory: Trajectory, step: Step, reflection: Reflection) -> Signal:
    if trajectory.outcome in ("success", "partial"):
        return "context" if step.success is False else "imitate"
    if trajectory.outcome == "failure" and step.index == reflection.error_step:
        return "avoid"
    return "context"


def weight_of(signal: Signal, outcome: Outcome, config: TrainingConfig) -> float:
    """Contrastive weight of section 6.3: success 1.0, partial 1.5, failure 2.0; context weighs nothing."""
    if signal in ("context", "repaired"):
        return 0.0
    if signal == "avoid":
        return config.weight_failure
    return config.weight_partial if outcome == "partial" else config.weight_success
