"""The rule reflector: deterministic, offline, one trajectory at a time.

It sees tool errors and what mended them, calls that were repeated although they failed, the order of tools, and where
the run turned; of a run at a place, which arguments each tool takes there. What needs several trajectories (success
against failure) is the fold's, in `memory.curate`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from synde_pipeline.records import INVALID, REPLY, Lesson, Reflection, Step, Trajectory, place_of
from synde_pipeline.reflection.evidence import features_of
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.reflection.repairs import UNMENDED, plain_pattern, repairs

_ENDS = frozenset({"answer", "complete_task", "final_answer", "respond"})
"""Tools that end a run: what they are called with is one task's answer, no convention of its place."""
_MAX_ARGUMENTS = 40
"""Characters of the arguments that can be a convention of a place; longer ones are about one task."""


def reflect(trajectory: Trajectory) -> Reflection:
    """Read one trajectory and say what it teaches; uses nothing but the trajectory itself."""
    steps = trajectory.steps
    path = tool_path(steps)
    failed = [step for step in steps if step.success is False]
    repeats = list(repeated_failures(steps))
    turned = where_it_turned(trajectory)
    is_at_place = bool(place_of(trajectory.scope))
    found = _call_lessons(trajectory) if is_at_place else [*repairs(trajectory.task, steps), *_repeat_lessons(repeats)]
    lessons = tuple(dict.fromkeys(found))
    cause, remedy = _explain(trajectory, turned)
    return Reflection(
        trace_uid=trajectory.trace_uid,
        task_id=trajectory.task_id,
        domain=trajectory.domain,
        outcome=trajectory.outcome,
        label_source=trajectory.label_source,
        effective_day=max(trajectory.day, trajectory.ended_at.date() if trajectory.ended_at else trajectory.day),
        task=trajectory.task,
        scope=trajectory.scope,
        shown=trajectory.shown_memory,
        strategy=" -> ".join(path) or "answered without tools",
        why=cause or _why(trajectory, len(failed)),
        principle=remedy or (f"This order of tools worked: {' -> '.join(path)}." if path else "No tool was needed."),
        confidence=_confidence(trajectory, len(failed)),
        error_step=turned,
        error_identification=_identify(failed, turned),
        root_cause=cause,
        correct_approach=remedy,
        key_insight="" if is_at_place else _insight(lessons),
        path=path,
        n_tool_errors=len(failed),
        n_repeated_failures=len(repeats),
        features=() if is_at_place else features_of(trajectory),  # at a place the calls themselves are compared
        lessons=lessons,
    )


def tool_path(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Tools in call order, replies left out, neighbours that repeat collapsed."""
    path: list[str] = []
    for step in steps:
        if step.tool != REPLY and (not path or path[-1] != step.tool):
            path.append(step.tool)
    return tuple(path)


def repeated_failures(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Failed calls made again unchanged after they had failed."""
    failed: set[tuple[str, str]] = set()
    for step in steps:
        if step.success is False:
            if (step.tool, step.arguments) in failed:
                yield step
            failed.add((step.tool, step.arguments))


def where_it_turned(trajectory: Trajectory) -> int | None:
    """The step after which a failed run did not recover; None for runs that did not fail.

    In this order: the last tool error that no later call of the same tool mended; a repeated failing call; the last
    tool call, which changed what the verifier judged.
    """
    if trajectory.outcome != "failure":
        return None
    steps = trajectory.steps
    mended_later = {step.tool: step.index for step in steps if step.success}
    unmended = [s.index for s in steps if s.success is False and mended_later.get(s.tool, -1) < s.index]
    if unmended:
        return unmended[-1]
    repeats = [step.index for step in repeated_failures(steps)]
    if repeats:
        return repeats[0]
    calls = [step.index for step in steps if step.tool != REPLY]
    return calls[-1] if calls else None


def _repeat_lessons(repeats: list[Step]) -> Iterator[Lesson]:
    for step in repeats:
        yield Lesson(
            kind="pitfall",
            scope=f"tool:{step.tool}",
            title=f"Do not repeat {step.tool} unchanged after it failed",
            description=f"When {step.tool} has just failed. Not for time-outs.",
            content="It failed again. Change its arguments, or ask the user, before the next call.",
        )


def _call_lessons(trajectory: Trajectory) -> Iterator[Lesson]:
    """What each call of a run at a place teaches there: these arguments work with this tool, or do not.

    A call that failed and worked when it was repeated works. Whether the run succeeded is the fold's to weigh: most
    conventions are learned from failed runs.
    """
    conventions: dict[tuple[str, str], bool] = {}
    works: dict[tuple[str, str], bool] = {}
    known = [trajectory.task]
    for step in trajectory.steps:
        known.append(step.state)
        call = (step.tool, step.arguments)
        if call not in conventions:  # judged at its first call: error messages quote arguments
            conventions[call] = _is_convention(step, known)
        if conventions[call] and step.success is not None:
            works[call] = works.get(call, False) or step.success
        known.append(step.result)
    for (tool, arguments), did in works.items():
        yield Lesson(
            kind="strategy" if did else "pitfall",
            scope=trajectory.scope,
            title=tool,
            description=f"When {tool} is called on {place_of(trajectory.scope)}.",
            content=arguments,
            suspect=why_suspect(arguments),
        )


def _is_convention(step: Step, known: list[str]) -> bool:
    """Whether arguments can be what a place expects: short, and not copied from anything that the agent had read."""
    if step.tool in {REPLY, INVALID} or step.tool in _ENDS or len(step.arguments) > _MAX_ARGUMENTS:
        return False
    given = _object(step.arguments)
    values = [value for value in _values(step.arguments if given is None else given) if value]
    return bool(values) and not any(_has_word(text, value) for text in known for value in values)


def _values(value: Any) -> Iterator[str]:
    """Everything in a JSON value that could be copied, as text."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _values(part)
    else:
        yield str(value)


def _has_word(text: str, value: str) -> bool:
    """Whether text holds a value that no letter or digit continues on either side."""
    return value in text and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _object(arguments: str) -> dict[str, Any] | None:
    """Arguments as the JSON object that they are, if they are one."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _explain(trajectory: Trajectory, turned: int | None) -> tuple[str, str]:
    """Root cause and correct approach of a failed run, empty for the others."""
    if turned is None:
        return "", ""
    step = trajectory.steps[turned]
    if step.success is False:
        cause = f"{step.tool} failed ({plain_pattern(step) or 'an error'}) and no later call mended it."
        return cause, f"Resolve the error of {step.tool} before going on."
    return (
        f"{step.tool} was the last call that could change the outcome, and the outcome was judged wrong.",
        f"Check the user's full request before {step.tool}.",
    )


def _identify(failed: list[Step], turned: int | None) -> str:
    """Which error the run met: the one at which it turned, else the first one."""
    for step in sorted(failed, key=lambda step: step.index != turned):
        if pattern := plain_pattern(step):
            return f"Step {step.index}: {step.tool} answered '{pattern}'."
    return ""


def _insight(lessons: tuple[Lesson, ...]) -> str:
    """The first lesson that says what helped."""
    known = (lesson for lesson in lessons if not lesson.suspect and lesson.content != UNMENDED)
    return next((f"{lesson.title}: {lesson.content}" for lesson in known), "")


def _why(trajectory: Trajectory, n_errors: int) -> str:
    if trajectory.outcome == "success":
        return "It ended in success without a tool error." if not n_errors else "It recovered from every tool error."
    return f"The log labels it {trajectory.outcome} and shows no step where it turned."


def _confidence(trajectory: Trajectory, n_errors: int) -> float:
    """Certainty by rule: verified outcomes count most, each tool error takes a tenth, an unknown outcome half."""
    base = {"success": 0.9, "failure": 0.7, "partial": 0.6, "unknown": 0.4}[trajectory.outcome]
    return round(max(0.1, base - 0.1 * min(n_errors, 4)), 2)
