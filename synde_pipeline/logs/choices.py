"""What a person says of logs that do not say it themselves: domain, task, and which score means success."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.logs.importers.base import Draft, Label
from synde_pipeline.records import Outcome

_RULE = re.compile(r"score:(?P<name>[^<>=]+?)\s*(?P<sign><=|>=|<|>|=)\s*(?P<limit>-?\d+(?:\.\d+)?)")
_NAME = re.compile(r"[^a-z0-9_]+")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
SUCCESS = frozenset(
    {"success", "successful", "succeeded", "correct", "correctness", "accuracy", "pass", "passed", "resolved", "solved"}
)
"""Words by which a score says that the run succeeded."""
_BESIDE = frozenset(
    {"is", "was", "task", "run", "overall", "final", "answer", "outcome", "label", "eval", "evaluation"}
)
"""Words that may stand beside them; with any other (`tool_correctness`, `not_passed`) a score says something else."""


@dataclass(frozen=True)
class ScoreRule:
    """Which value of which score is a success; any other value of it is a failure."""

    name: str
    sign: str
    limit: float

    @classmethod
    def of(cls, text: str) -> "ScoreRule":
        """Read `score:correctness>=0.5`.

        Raises:
            InputError: it is no such rule.
        """
        found = _RULE.fullmatch(text.strip())
        if found is None:
            raise InputError(f"--outcome is {text!r}", expected="score:NAME>=NUMBER, or <=, >, <, =")
        return cls(found["name"].strip(), found["sign"], float(found["limit"]))

    def outcome(self, value: float) -> Outcome:
        """What a value means."""
        holds = {
            ">=": value >= self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            "<": value < self.limit,
            "=": value == self.limit,
        }[self.sign]
        return "success" if holds else "failure"


@dataclass(frozen=True)
class Choices:
    """A person's words; None leaves what the log says."""

    domain: str | None = None
    """A constant, or the path of a field of the native row, as `metadata.team`."""
    task_id: str | None = None
    """The same."""
    outcome: ScoreRule | None = None

    def applied(self, draft: Draft, row: Any, scores: Mapping[str, float]) -> Draft:
        """A draft as the person wants it; a label that the log itself gives is never changed.

        Raises:
            ValueError: the domain is no name.
        """
        family, domain, task = draft.task_id.split(":", 2)
        if self.domain is not None:
            domain = domain_name(said(row, self.domain))
        if self.task_id is not None:
            task = said(row, self.task_id)
        draft = replace(draft, domain=domain, task_id=f"{family}:{domain}:{task}")
        if self.outcome is not None and draft.outcome == "unknown" and self.outcome.name in scores:
            value = scores[self.outcome.name]
            draft = replace(draft, outcome=self.outcome.outcome(value), reward=value, label_source="judge")
        return draft

    def ruled(self, label: Label) -> Label | None:
        """A label as the person's rule reads its score; None where the rule is of another score, or there is none."""
        if self.outcome is None or label.score != self.outcome.name or label.reward is None:
            return None
        return replace(label, outcome=self.outcome.outcome(label.reward), is_ruled=True)


AS_LOGGED = Choices()


def says_success(name: str) -> bool:
    """Whether a yes or no under this name is an outcome by itself; any other score waits for a person's rule."""
    words = {word.lower() for word in _WORDS.findall(name)}
    return bool(words & SUCCESS) and words <= SUCCESS | _BESIDE


def said(row: Any, word: str) -> str:
    """The text at a field's path, where a row has one; else the word itself.

    Args:
        row: native; of a list of rows the first one that has the field.
        word: as `metadata.team` or `retail`.
    """
    for one in row if isinstance(row, list) else [row]:
        at = one
        for part in word.split("."):
            at = at.get(part) if isinstance(at, dict) else None
        if isinstance(at, str | int | float) and not isinstance(at, bool) and str(at):
            return str(at)
    return word


def domain_name(text: str) -> str:
    """A text as a domain may be called: lower case, other signs than letters, digits and _ as _.

    Raises:
        ValueError: nothing is left.
    """
    name = _NAME.sub("_", text.lower()).strip("_")[:41]
    if not name:
        raise ValueError(f"domain {text!r} holds no letter and no digit")
    return name


def first_domain(*texts: Any, default: str) -> str:
    """The first text that can name a domain."""
    for text in texts:
        if isinstance(text, str) and _NAME.sub("", text.lower()).strip("_"):
            return domain_name(text)
    return default
