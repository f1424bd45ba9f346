"""Several trials of one task in one reflection: a language model says what made some succeed and others fail.

ReasoningBank's memory-aware test-time scaling, the parallel kind. Which trials are shown, and what becomes of the
lessons, is the fold's business (`memory.trials`): what one trajectory teaches alone is in `llm`.
"""

from collections.abc import Sequence

from synde_pipeline.llm import Request
from synde_pipeline.records import Lesson, Trajectory, place_of
from synde_pipeline.reflection.answers import MAX_LESSONS, Lessons, Said, Shape, Text, lessons_of
from synde_pipeline.reflection.llm import scopes_of
from synde_pipeline.reflection.prompt import several_messages
from synde_pipeline.reflection.shown import without_shown_memory
from synde_pipeline.settings import ReflectionConfig

_FEWEST_STEPS = 4
"""Of each trial that a prompt shows, however many trials there are."""


class TrialsAnswer(Shape):
    """What the model is asked for."""

    first_difference: Text
    cause: Said
    lessons: Lessons


_ROLE = """\
You study recorded runs of software agents. From several trials of one task, of which some succeeded and some failed, \
you work out what made the difference, for another agent that will do different tasks of the same kind."""

_QUESTION = """\
All of these are trials of the same task, so they differ in nothing but what the agent did, and in chance. {ends}

Fill in the answer's fields:
- first_difference: the first step at which the failed trials went another way than the successful ones; an empty \
string if there is none.
- cause: what made the successful trials succeed and the failed ones fail. Say so if the trials do not show it.
- lessons: at most {most}, none if the difference may be chance. Each must rest on something that successful trials \
did and failed ones did not, or the other way round, and must help with other tasks: leave out names, order numbers, \
dates and whatever else belongs to this task alone. kind is `strategy` (do this), `pitfall` (avoid this) or `workflow` \
(an order of calls that worked, two steps or more). title names the situation in a few words, description says when it \
applies and when it does not, content says in one to three sentences what to do. scope is where the lesson holds, one \
of: {scopes}."""


def trials_request(trials: Sequence[Trajectory], config: ReflectionConfig) -> Request[TrialsAnswer]:
    """What a language model is asked about trials of one task; their outcomes are said, nothing else that is hidden.

    Args:
        trials: of one task, some successful and some failed, in canonical order.
        config: how many steps a prompt may show; the trials share them.
    """
    titles = [f"trial {number}" for number in range(1, len(trials) + 1)]
    ends = [f"{title[0].upper()}{title[1:]} ended in {run.outcome}." for title, run in zip(titles, trials, strict=True)]
    question = _QUESTION.format(
        ends=" ".join(ends), most=MAX_LESSONS, scopes=", ".join(repr(scope) for scope in _scopes(trials))
    )
    runs = [(title, without_shown_memory(run)[0]) for title, run in zip(titles, trials, strict=True)]
    max_steps = max(_FEWEST_STEPS, config.max_steps // len(trials))
    messages = several_messages(_ROLE, question, runs, max_steps)
    return Request(messages, TrialsAnswer, tuple(run.trace_uid for run in trials))


def lessons_from(trials: Sequence[Trajectory], answer: TrialsAnswer) -> tuple[Lesson, ...]:
    """What may be kept of an answer: no scope that the trials do not know, nothing that an agent had been shown."""
    shown = [line for run in trials for line in without_shown_memory(run)[1]]
    return lessons_of(answer.lessons, _scopes(trials), (), shown)


def _scopes(trials: Sequence[Trajectory]) -> list[str]:
    """The domain and every tool that was called: what holds at a place is counted run by run, not told in words."""
    found = dict.fromkeys(scope for run in trials for scope in scopes_of(run) if not place_of(scope))
    return sorted(found)
