"""What a language model may answer about runs, one or several: shapes, their limits, and lessons checked one by one."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from synde_pipeline.records import Lesson, place_of
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.reflection.shown import repeats

MAX_LESSONS = 3
"""Lessons of one answer."""


def _at_most(n: int, what: str) -> AfterValidator:
    """Limits that the schema does not say, because strict schemas cannot: they are checked here and told on repair."""

    def check(value: Any) -> Any:
        if len(value) > n:
            raise ValueError(f"at most {n} {what}")
        return value

    return AfterValidator(check)


def _as_share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("between 0 and 1")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("not blank")
    return value.strip()


Line = Annotated[str, AfterValidator(_not_blank), _at_most(160, "characters")]
Text = Annotated[str, _at_most(1000, "characters")]
Said = Annotated[Text, AfterValidator(_not_blank)]
"""A text that is not blank."""
Share = Annotated[float, AfterValidator(_as_share)]


class Shape(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LessonAnswer(Shape):
    """A lesson as the model proposes it."""

    kind: Literal["strategy", "pitfall", "workflow"]
    scope: str
    title: Line
    description: Text
    content: Said


Lessons = Annotated[list[LessonAnswer], _at_most(MAX_LESSONS, "lessons")]


def lessons_of(
    answers: Sequence[LessonAnswer], scopes: Collection[str], tools: Collection[str], shown_lines: Sequence[str]
) -> tuple[Lesson, ...]:
    """The lessons that may be kept, each once; those that read like an attack say why.

    Args:
        answers: as the model proposes them.
        scopes: where a lesson may apply; others are dropped.
        tools: that the runs called: at a place, a lesson is about one of them.
        shown_lines: what the agent was shown from memory; a lesson that repeats it is dropped (recall-loop guard).
    """
    return tuple(dict.fromkeys(_checked(answers, scopes, tools, shown_lines)))


def _checked(
    answers: Sequence[LessonAnswer], scopes: Collection[str], tools: Collection[str], shown_lines: Sequence[str]
) -> Iterator[Lesson]:
    for lesson in answers:
        is_of_place = bool(place_of(lesson.scope))
        if lesson.scope not in scopes or (is_of_place and (lesson.title not in tools or lesson.kind == "workflow")):
            continue
        if repeats(lesson.content, shown_lines) or repeats(lesson.title, shown_lines):
            continue
        suspect = why_suspect(f"{lesson.title}\n{lesson.description}\n{lesson.content}")
        yield Lesson(**lesson.model_dump(), suspect=suspect)
