"""Who says how a run ended where its log does not: rules, or a language model. Uncertain means failure.

A false success is worse than a false failure: memory and training would repeat it. The log itself stays as it is; what
a judge says goes on with the reflection.
"""

import re
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from synde_pipeline.llm import Request
from synde_pipeline.records import REPLY, Outcome, Step, Trajectory
from synde_pipeline.reflection.prompt import data_messages
from synde_pipeline.reflection.rules import repeated_failures
from synde_pipeline.reflection.shown import without_shown_memory
from synde_pipeline.settings import ReflectionConfig


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)


_ITS = "(?:['’]s| is| was)"
_NT = "n['’]?t"
_THANKS = _any_of(
    *("thanks?", "thank you", "thx", "perfect", "great", "awesome", "excellent", "wonderful", "appreciate"),
    *(f"that{_ITS} (?:all|it|everything)", "works? (?:now|for me)", "all set", "solved", "looks good"),
)
_COMPLAINT = _any_of(
    *(r"disappoint\w*", r"frustrat\w*", r"complain\w*", "unacceptable", "ridiculous", "useless", "wrong", "forget it"),
    *("not what i", "never ?mind", f"does{_NT} work", f"still (?:not|does{_NT}|broken|fails?|failing)"),
)
_WANTED = re.compile(
    r"\?|^\W*(?:yes|yeah|sure|ok(?:ay)?)\b|\b(?:please|(?:can|could|would) you|go ahead|i['’]d like|i (?:want|need))\b",
    re.IGNORECASE,
)
_GAVE_UP = _any_of(
    *("sorry", "apologi[sz]e", "unfortunately", "unable to", "i g[ai]ve up", "i failed", "not possible"),
    f"(?:cannot|can{_NT}|could{_NT}|could not) (?:help|assist|do|find|process|complete|proceed|solve)",
)
_HAND_OVER = re.compile(r"(^|_)(transfer|escalate|hand_?over|hand_?off|give_?up|abort)(_|$)", re.IGNORECASE)
_MAX_ERRORS = 2
"""Failed calls that a run may have and still count as done."""
_MARK = re.compile(r"#+\w+#+")
"""Marks by which simulated users end a conversation."""


class Judgement(NamedTuple):
    """What a judge says."""

    outcome: Outcome
    why: str


def judge_by_rules(trajectory: Trajectory) -> Judgement:
    """Judge by the signs that a run's end shows; it succeeded only if the user says so and nothing speaks against it.

    Never looks at the outcome or the reward.
    """
    steps = trajectory.steps
    if not steps:
        return Judgement("failure", "The agent did nothing.")
    calls = [step for step in steps if step.tool != REPLY]
    if calls and calls[-1].success is False:
        return Judgement("failure", f"The last call, {calls[-1].tool}, failed.")
    if calls and _HAND_OVER.search(calls[-1].tool):
        return Judgement("failure", f"The agent gave the task away by {calls[-1].tool}.")
    if any(True for _ in repeated_failures(steps)):
        return Judgement("failure", "The agent repeated a call that had failed.")
    if sum(step.success is False for step in calls) > _MAX_ERRORS:
        return Judgement("failure", f"More than {_MAX_ERRORS} calls failed.")
    if steps[-1].tool != REPLY and any(step.tool == REPLY for step in steps):
        return Judgement("failure", "The user never got an answer to the last call.")
    return _by_words(steps)


def _by_words(steps: tuple[Step, ...]) -> Judgement:
    """What the last words of the user, and of the agent before them, say."""
    heard_at = [step for step in steps if step.tool == REPLY and _words(step.result)]
    if not heard_at:
        return Judgement("failure", "Nobody says that the task was done.")
    last = heard_at[-1]
    heard, after = _words(last.result), steps[last.index + 1 :]
    if _COMPLAINT.search(heard):
        return Judgement("failure", "The user complained at the end.")
    if _WANTED.search(heard) and not after:
        return Judgement("failure", "The user's last wish was not answered.")
    if after and any(step.success for step in after):
        return Judgement("success", "What the user asked for last was done, and nothing failed after it.")
    if not _THANKS.search(heard):
        return Judgement("failure", "The user did not confirm at the end.")
    if _GAVE_UP.search(last.arguments):
        return Judgement("failure", "The agent apologised or declined at the end.")
    return Judgement("success", "The user confirmed or gave thanks, and nothing was left open.")


def _words(text: str) -> str:
    return _MARK.sub("", text).strip()


class JudgeAnswer(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: str
    status: Literal["success", "failure", "uncertain"]


_ROLE = """\
You judge whether a recorded run of a software agent did its task. You are strict: a run that is taken for a success \
wrongly does more harm than one that is taken for a failure wrongly."""

_QUESTION = """\
Did the agent do the task? It succeeded only if all of this holds:
1. Every part of what was asked for was done, and nothing that was not asked for.
2. What the agent told the user is what its tools had answered.
3. It was done to the right thing: the right person, order, page or file.
The agent's own claim of success is no evidence, nor is a polite user. Write your reasons first, in two or three \
sentences, then the status. If the run does not show it, the status is `uncertain`."""


def judge_request(trajectory: Trajectory, config: ReflectionConfig) -> Request[JudgeAnswer]:
    """What a language model is asked about a run's outcome."""
    seen, _ = without_shown_memory(trajectory)
    return Request(
        data_messages(_ROLE, _QUESTION, seen, config.max_steps), JudgeAnswer, sources=(trajectory.trace_uid,)
    )


def judgement_of(answer: JudgeAnswer) -> Judgement:
    """A model's answer as a judgement: what is uncertain is a failure."""
    return Judgement("success" if answer.status == "success" else "failure", answer.reasons)
