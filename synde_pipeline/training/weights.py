"""What each step teaches, and how hard. Pure arithmetic on outcomes; examples are put together in `examples`."""

from collections.abc import Iterator, Sequence
from typing import Literal

from synde_pipeline.records import Outcome, Reflection, Step, Trajectory
from synde_pipeline.settings import TrainingConfig

Signal = Literal["imitate", "avoid", "context", "repaired"]
"""imitate: cross-entropy on the action. avoid: unlikelihood on it. context: it is only read. repaired: a failed attempt
that a later call mended; training sequences leave it out (hindsight cleaning)."""


def signals_of(trajectory: Trajectory, reflection: Reflection, config: TrainingConfig) -> list[Signal]:
    """What each step is to the learner.

    Credit by `outcome`: steps of runs that succeeded (at least in part) are imitated unless they failed themselves; of
    a failed run the step where it turned is avoided (synde.txt 6.3, read with care: design.md on negated targets), and
    what the log says made progress before it is imitated.
    Credit by `step`, for logs whose environment judges each action: what made progress is imitated wherever the run
    ended, and what did not is avoided.
    By either, attempts that an imitated call of the same tool made good at once are `repaired`, and so are the calls
    between them that nobody judged: had they made it good, the tool would not have been called again.
    """
    judge = _by_step if config.credit == "step" else _by_outcome
    signals: list[Signal] = [judge(trajectory, step, reflection) for step in trajectory.steps]
    for attempts in _repaired(trajectory.steps, signals):
        signals[attempts] = ["repaired"] * (attempts.stop - attempts.start)
    return signals


def _by_step(trajectory: Trajectory, step: Step, reflection: Reflection) -> Signal:
    if step.success is None:
        return _by_outcome(trajectory, step, reflection)
    return "imitate" if step.success else "avoid"


def _by_outcome(trajectory: Trajectory, step: Step, reflection: Reflection) -> Signal:
    if trajectory.outcome in ("success", "partial"):
        return "context" if step.success is False else "imitate"
    turned = reflection.error_step
    if trajectory.outcome != "failure" or turned is None:
        return "context"
    if step.index == turned:
        return "avoid"
    return "imitate" if step.success and step.index < turned else "context"


def _repaired(steps: Sequence[Step], signals: Sequence[Signal]) -> Iterator[slice]:
    """Runs of calls of one tool from a failed one up to the call, left out, that made it good and is imitated."""
    start: int | None = None
    for step, signal in zip(steps, signals, strict=True):
        if start is not None and step.tool != steps[start].tool:
            start = None
        if step.success is False and start is None:
            start = step.index
        elif step.success and start is not None:
            if signal == "imitate":
                yield slice(start, step.index)
            start = None


def weight_of(signal: Signal, outcome: Outcome, config: TrainingConfig) -> float:
    """Contrastive weight of section 6.3: success 1.0, partial 1.5, failure 2.0; context weighs nothing."""
    if signal in ("context", "repaired"):
        return 0.0
    if signal == "avoid":
        return config.weight_failure
    return config.weight_partial if outcome == "partial" else config.weight_success
