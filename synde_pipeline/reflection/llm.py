"""The LLM reflector: one trajectory at a time is shown to a language model, whose answer becomes a `Reflection`.

What the run did (path, errors, repeats) is counted here, not by the model; what the model proposes is checked: scopes
that the run does not know, lessons that repeat what it was shown, and tags of items that it was not shown are dropped.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from synde_pipeline.llm import Message, Request
from synde_pipeline.records import Reflection, Tag, Trajectory, Verdict, place_of
from synde_pipeline.reflection.answers import MAX_LESSONS, Lessons, Said, Shape, Share, Text, lessons_of
from synde_pipeline.reflection.prompt import data_messages
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.reflection.shown import without_shown_memory
from synde_pipeline.settings import ReflectionConfig

T = TypeVar("T", bound=BaseModel)
Ask = Callable[[Request[Any]], Any]
"""`Llm.ask`, or something that answers like it."""


class TagAnswer(Shape):
    """What the model says of an item that the agent was shown."""

    item_id: str
    verdict: Verdict


class ReflectionAnswer(Shape):
    """What the model is asked for."""

    error_identification: Text
    root_cause: Text
    correct_approach: Text
    key_insight: Text
    strategy: Said
    why: Text
    principle: Text
    confidence: Share
    error_step: int | None
    tags: list[TagAnswer]
    lessons: Lessons


_ROLE = """\
You study recorded runs of software agents. From one run you work out what it teaches another agent that will do \
different tasks of the same kind."""

_QUESTION = """\
How the run ended: {outcome}.

Fill in the answer's fields:
- error_identification, root_cause, correct_approach: what went wrong, the reason behind it, and what would have been \
right. Empty strings if nothing went wrong.
- error_step: number of the step where it went wrong, null if no single step did.
- key_insight: the one thing to remember.
- strategy: how the agent went about the task. why: what made that succeed or fail. principle: the general rule that \
follows. confidence: how sure you are of it, 0 to 1; stay below 0.5 where the run alone does not show it.
- tags: {shown}
- lessons: at most {most}, none if the run teaches nothing. Each must help with other tasks: leave out names, order \
numbers, dates and whatever else belongs to this task alone. kind is `strategy` (do this), `pitfall` (avoid \
this) or `workflow` (an order of calls that worked, two steps or more). title names the situation in a few words, \
description says when it applies and when it does not, content says in one to three sentences what to do. scope is \
where the lesson holds, one of: {scopes}.{place}"""

_PLACE = """
  A lesson with the scope {scope} is about one tool there: title is the tool's name exactly, content is the arguments \
to use (strategy) or to avoid (pitfall) exactly as they were called."""

_SECOND_LOOK = """\
Look again. Go through the run step by step and compare it with your answer: is each claim shown by the run, is the \
root cause the first thing that went wrong and not a consequence, does each lesson hold beyond this task, and is \
confidence deserved? Answer with the whole object once more, corrected where needed."""

_ENDED = {
    "success": "it succeeded",
    "failure": "it failed",
    "partial": "it succeeded in part",
    "unknown": "nobody knows; do not guess",
}


def reflect_by_llm(trajectory: Trajectory, config: ReflectionConfig, ask: Ask) -> Reflection:
    """Let a language model read one trajectory; uses nothing else.

    Raises:
        LlmError: as `ask` does.
    """
    seen, shown_lines = without_shown_memory(trajectory)
    request = _question_about(seen, config)
    answer = ask(request)
    if config.second_look:
        first = Message("assistant", answer.model_dump_json())
        answer = ask(request.then(first, Message("user", _SECOND_LOOK)))
    return _reflection(trajectory, answer, shown_lines)


def reflection_request(trajectory: Trajectory, config: ReflectionConfig) -> Request[ReflectionAnswer]:
    """What a language model is asked first about a run."""
    return _question_about(without_shown_memory(trajectory)[0], config)


def _question_about(trajectory: Trajectory, config: ReflectionConfig) -> Request[ReflectionAnswer]:
    shown = ", ".join(sorted(_shown_ids(trajectory)))
    place = place_of(trajectory.scope)
    question = _QUESTION.format(
        outcome=_ENDED[trajectory.outcome],
        shown=f"the agent was shown the memory items {shown}, whose texts are left out. Judge only those whose use "
        "the run shows (helpful, harmful or neutral)."
        if shown
        else "none: the agent was shown no memory items.",
        most=MAX_LESSONS,
        scopes=", ".join(repr(scope) for scope in scopes_of(trajectory)),
        place=_PLACE.format(scope=repr(trajectory.scope)) if place else "",
    )
    messages = data_messages(_ROLE, question, trajectory, config.max_steps)
    return Request(messages, ReflectionAnswer, (trajectory.trace_uid,))


def scopes_of(trajectory: Trajectory) -> list[str]:
    """Where a lesson of this run may apply: its domain (empty), its own place, the tools that it called."""
    own = [trajectory.scope] if trajectory.scope else []
    return list(dict.fromkeys(["", *own, *(f"tool:{tool}" for tool in sorted(_tools(trajectory)))]))


def _tools(trajectory: Trajectory) -> set[str]:
    return {step.tool for step in trajectory.steps}


def _shown_ids(trajectory: Trajectory) -> set[str]:
    return {shown.partition("@")[0] for shown in trajectory.shown_memory}


def _reflection(trajectory: Trajectory, answer: ReflectionAnswer, shown_lines: tuple[str, ...]) -> Reflection:
    counted = reflect(trajectory)
    known = _shown_ids(trajectory)
    tags: dict[str, Verdict] = {tag.item_id.partition("@")[0]: tag.verdict for tag in answer.tags}
    is_step = answer.error_step is not None and 0 <= answer.error_step < len(trajectory.steps)
    said = answer.model_dump(exclude={"tags", "lessons", "error_step"})
    return counted.model_copy(
        update={
            **said,
            "engine": "llm",
            "error_step": answer.error_step if is_step else None,
            "tags": tuple(
                Tag(item_id=item, verdict=verdict) for item, verdict in sorted(tags.items()) if item in known
            ),
            "lessons": lessons_of(answer.lessons, scopes_of(trajectory), _tools(trajectory), shown_lines),
        }
    )
