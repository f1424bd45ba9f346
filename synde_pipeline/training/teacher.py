"""Context distillation, the data side: where a teacher that reads all of the memory predicts a student's targets."""

from collections.abc import Sequence
from dataclasses import dataclass

from synde_pipeline.prompting import StepSpan, Window


@dataclass(frozen=True)
class Lesson:
    """What a student's window can learn from its teacher's."""

    ids: list[int]
    """The teacher's sequence; empty where there is nothing to distil."""
    at: list[int]
    """For each token that the student imitates, in order, where in `ids` the same one stands."""
    weights: list[float]
    """The student's, 0 on steps that the teacher's window does not hold as targets."""
    n_lost: int
    """Steps that it does not hold, and that are dropped from the student's targets therefore."""


def lesson(window: Window, weights: Sequence[float], avoid: Sequence[bool], teacher: Sequence[Window]) -> Lesson:
    """Align a window with the one of the teacher's that teaches most of it.

    The teacher's header is longer, so its windows may be cut elsewhere; a step's own tokens are the same in both.

    Args:
        window: the student's.
        weights: one a token of it.
        avoid: one a token of it; what is to be avoided needs no teacher.
        teacher: windows of the same turns with all of the memory; none where there is no memory.
    """
    taught = {span: _imitated(span, weights, avoid) for span in window.targets}
    taught = {span: at for span, at in taught.items() if at}
    if not teacher or not taught:
        return Lesson([], [], list(weights), 0)
    best = max(teacher, key=lambda one: sum(len(taught[span]) for span in taught if _held(one, span)))
    found, at, left = list(weights), [], 0
    for span, positions in taught.items():
        held = _held(best, span)
        if held is None:
            left += 1
            for k in positions:
                found[k] = 0.0
        else:
            shift = held.action[0] - span.action[0]
            at += [k + shift for k in positions]
    return Lesson(best.ids, at, found, left)


def _imitated(span: StepSpan, weights: Sequence[float], avoid: Sequence[bool]) -> list[int]:
    return [k for k in range(span.reasoning[0], span.action[1]) if weights[k] > 0 and not avoid[k]]


def _held(window: Window, span: StepSpan) -> StepSpan | None:
    return next((target for target in window.targets if target.index == span.index), None)
