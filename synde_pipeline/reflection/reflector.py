"""Judge and engine put together: from one trajectory to one reflection, as the settings say.

trajectory -> (outcome unknown: a judge) -> engine -> reflection
"""

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from synde_pipeline.llm import Llm, Price, Request, rule_of
from synde_pipeline.records import Reflection, Trajectory, content_hash, split_of
from synde_pipeline.reflection.judge import Judgement, judge_by_rules, judge_request, judgement_of
from synde_pipeline.reflection.llm import Ask, reflect_by_llm, reflection_request
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import ReflectionConfig, Settings

T = TypeVar("T", bound=BaseModel)


_MOST_CONFIDENCE = 0.5
"""Of what rules say of a run that was only judged."""


class Reflector(Protocol):
    """Reads one trajectory, and nothing else."""

    def __call__(self, trajectory: Trajectory) -> Reflection:
        """What the trajectory teaches."""
        ...


def reflector(config: ReflectionConfig, ask: Ask) -> Reflector:
    """The reader of these settings; `ask` is called only where an engine or a judge is a language model."""

    def read(trajectory: Trajectory) -> Reflection:
        own = config_for(trajectory, config)
        judgement = _judge(trajectory, own, ask)
        if judgement is not None:
            trajectory = trajectory.model_copy(update={"outcome": judgement.outcome, "label_source": "judge"})
        if own.engine == "llm":
            return reflect_by_llm(trajectory, own, ask)
        return _blame_only_what_failed(trajectory, reflect(trajectory), judgement)

    return read


def config_for(trajectory: Trajectory, config: ReflectionConfig) -> ReflectionConfig:
    """Who reads one trajectory: rules read those of held-out tasks, because nothing is learned from what calls cost."""
    if split_of(trajectory.task_id) == "train":
        return config
    return ReflectionConfig(engine="rules", judge="off" if config.judge == "off" else "rules")


def _judge(trajectory: Trajectory, config: ReflectionConfig, ask: Ask) -> Judgement | None:
    """What the judge says of a run whose outcome the log does not say; None where nobody is asked."""
    if trajectory.outcome != "unknown" or config.judge == "off":
        return None
    if config.judge == "rules":
        return judge_by_rules(trajectory)
    return judgement_of(ask(judge_request(trajectory, config)))


def _blame_only_what_failed(trajectory: Trajectory, reflection: Reflection, judgement: Judgement | None) -> Reflection:
    """A judged run: why it was judged so, and no step is blamed that did not fail itself.

    The rules blame a failed run's last call where nothing else points anywhere, because a verifier compared what it
    changed; a judge compared nothing.
    """
    if judgement is None:
        return reflection
    step = reflection.error_step
    changed: dict[str, Any] = {"why": judgement.why, "confidence": min(reflection.confidence, _MOST_CONFIDENCE)}
    if step is not None and trajectory.steps[step].success is not False:
        changed |= {"error_step": None, "error_identification": "", "root_cause": "", "correct_approach": ""}
    return reflection.model_copy(update=changed)


def uses_llm(config: ReflectionConfig) -> bool:
    """Whether reading may ask a language model."""
    return "llm" in (config.engine, config.judge)


def rule_hash(settings: Settings) -> str:
    """Hash of the settings that reflections follow: other ones make every day stale."""
    config = settings.reflection
    rule: dict[str, Any] = config.model_dump(include={"engine", "judge"})
    if uses_llm(config):
        rule |= {**config.model_dump(exclude={"trials"}), "llm": rule_of(settings.llm)}
    return content_hash(rule)


class _NotThereError(Exception):
    """Stops reading at the first answer that is not in the cache."""


def price_of(llm: Llm, settings: Settings, trajectories: Iterable[Trajectory]) -> Price:
    """What reading these trajectories would cost at most, by calls that were not made yet."""
    asked = trajectories if uses_llm(settings.reflection) else ()
    return sum((_price_of_one(llm, settings, trajectory) for trajectory in asked), Price())


def _price_of_one(llm: Llm, settings: Settings, trajectory: Trajectory) -> Price:
    """The first call whose answer is missing, and those that follow it."""
    config, n_answered, missing = config_for(trajectory, settings.reflection), 0, Price()

    def ask(request: Request[T]) -> T:
        nonlocal n_answered, missing
        found = llm.cached(request)
        if found is None:
            missing = llm.at_most(request)
            raise _NotThereError
        n_answered += 1
        return found

    try:
        reflector(config, ask)(trajectory)
    except _NotThereError:
        n_judged = trajectory.outcome == "unknown" and config.judge == "llm"
        n_calls = n_judged + (1 + config.second_look if config.engine == "llm" else 0)
        # A second look repeats the first answer.
        following = llm.at_most(reflection_request(trajectory, config), more_in=settings.llm.max_output_tokens)
        return sum([following] * (n_calls - n_answered - 1), missing)
    return Price()
