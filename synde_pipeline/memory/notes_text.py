"""Notes as text: the grammar of their sentences, their words and the budget of these. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

Conditions = tuple[str, ...]
"""Sorted; empty is everything."""

_Z = 1.96
"""Width of the Wilson interval whose lower bound ranks rules: 95 %, two-sided."""
_AND = " and "


@dataclass(frozen=True)
class Rule:
    """What a sentence says."""

    conditions: Conditions
    label: str
    hits: float | None = None
    """How many of `n` had the label, one decimal; None where the sentence carries no evidence."""
    n: float | None = None

    @cached_property
    def bound(self) -> float:
        """Lower Wilson bound of its share of hits; 0 without evidence."""
        return wilson(self.hits, self.n) if self.hits is not None and self.n else 0.0

    @property
    def without_evidence(self) -> "Rule":
        """The same in words only."""
        return Rule(self.conditions, self.label)


@dataclass(frozen=True)
class Wording:
    """The grammar of a notebook's sentences.

    `<subject> <condition> and <condition> <verb> <label> (<hits> of <n>).`
    """

    subject: str
    """`Creatures with`"""
    verb: str = ""
    """`are`; empty where the label is a verb itself."""
    whole: str = ""
    """`Runs in general`: subject of a first sentence about everything; empty where notes have none."""
    labels: tuple[str, ...] = ()
    """Both labels, where there are two: what is not one is the other."""

    def say(self, rule: Rule) -> str:
        """A rule as a sentence."""
        subject = f"{self.subject} {_AND.join(rule.conditions)}" if rule.conditions else self.whole
        words = [subject, self.verb, rule.label]
        evidence = "" if rule.hits is None else f" ({rule.hits:.10g} of {rule.n:.10g})"
        return f"{' '.join(filter(None, words))}{evidence}."

    @property
    def form(self) -> str:
        """The grammar, for those who do not read regular expressions."""
        return " ".join(filter(None, [self.subject, "<condition> and <condition>", self.verb, "<label>."]))

    def read(self, notes: str) -> list[Rule]:
        """The rules of a text; lines that are no sentence of this grammar are passed over."""
        return [rule for line in notes.splitlines() if (rule := self._rule(line)) is not None]

    def can_say(self, condition: str) -> bool:
        """Whether a condition comes back as it is when a sentence with it is read."""
        is_plain = not set(condition) & set("()") and condition == " ".join(condition.split())
        return bool(condition) and is_plain and _AND not in f" {condition} "

    def _rule(self, line: str) -> Rule | None:
        found = self._sentence.fullmatch(line)
        if found is None:
            return None
        hits, n = found["hits"], found["n"]
        conditions = tuple(sorted(found["conditions"].split(_AND))) if found["conditions"] else ()
        return Rule(conditions, found["label"], float(hits) if hits else None, float(n) if n else None)

    @cached_property
    def _sentence(self) -> re.Pattern[str]:
        verb = f" {re.escape(self.verb)}" if self.verb else ""
        evidence = r"(?: \((?P<hits>\d+(?:\.\d)?) of (?P<n>\d+(?:\.\d)?)\))?"
        whole = f"|{re.escape(self.whole)}" if self.whole else ""
        subject = rf"(?:{re.escape(self.subject)} (?P<conditions>[^()]+){whole})"
        return re.compile(rf"{subject}{verb} (?P<label>[^\s()]+){evidence}\.")


def wilson(hits: float, n: float) -> float:
    """Lower bound of the Wilson score interval of a share."""
    share, z2 = hits / n, _Z * _Z
    return (share + z2 / (2 * n) - _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)


# -- words and budget --------------------------------------------------------------------------------------------------


def n_words(text: str) -> int:
    """Words of a text: what the budget counts."""
    return len(text.split())


def kept(notes: str, momentum: float) -> list[str]:
    """The lines that hold the first words of the notes: `momentum` of all, completed to the end of the sentence."""
    wanted, lines = round(momentum * n_words(notes)), []
    for line in notes.splitlines():
        if wanted <= 0:
            break
        lines.append(line)
        wanted -= n_words(line)
    return lines


def within_budget(max_words: int, lines: Iterable[str]) -> str:
    """The lines that fit, in their order; a shorter one may still fit where a longer one did not."""
    fitting: list[str] = []
    for line in lines:
        if n_words(line) <= max_words:
            fitting.append(line)
            max_words -= n_words(line)
    return "\n".join(fitting)
