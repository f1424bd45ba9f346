"""A notebook that learns (In-Memory Learning, arXiv 2403.02757): inference -> induction -> revision. Pure.

The state is text and nothing else: one sentence a line, read back at every use. What the sentences are about belongs to
a `Wording`: creatures of the benchmark, or runs of a domain (`notebook`).

With `evidence_carry` 0 this is the loop as published: a revision copies the first words of the old notes and fills up
with what the last minibatches taught. With more (ours) each sentence carries its counts, "(12 of 14)": old counts are
carried on with that weight, sentences are ranked anew by them, and one whose evidence has turned goes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import sqrt
from typing import NamedTuple, Protocol

from synde_pipeline.settings import NotesConfig

Conditions = tuple[str, ...]
"""Sorted; empty is everything."""
Counts = Mapping[Conditions, Counter[str]]
"""How often each label went with conditions; those of the empty conditions are the labels' shares."""

BATCH_RULES = 12
"""Sentences of a batch note."""
_Z = 1.96
"""Width of the Wilson interval whose lower bound ranks rules: 95 %, two-sided."""
_AND = " and "


class Example(NamedTuple):
    """One thing that was seen, and what it turned out to be."""

    conditions: frozenset[str]
    label: str


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


@dataclass(frozen=True)
class Wording:
    """The grammar of a notebook's sentences.

    `<subject> <condition> and <condition> <verb> <label> (<hits> of <n>).`
    """

    subject: str
    """`Creatures with`"""
    verb: str = ""
    """`are`; empty where the label is a verb itself."""

    def say(self, rule: Rule) -> str:
        """A rule as a sentence."""
        words = [self.subject, _AND.join(rule.conditions), self.verb, rule.label]
        evidence = "" if rule.hits is None else f" ({rule.hits:.10g} of {rule.n:.10g})"
        return f"{' '.join(filter(None, words))}{evidence}."

    def read(self, notes: str) -> list[Rule]:
        """The rules of a text; lines that are no sentence of this grammar are passed over."""
        return [rule for line in notes.splitlines() if (rule := self._rule(line)) is not None]

    def can_say(self, condition: str) -> bool:
        """Whether a condition comes back as it is when a sentence with it is read."""
        return bool(condition) and _AND not in f" {condition} " and condition == " ".join(condition.split())

    def _rule(self, line: str) -> Rule | None:
        found = self._sentence.fullmatch(line)
        if found is None:
            return None
        hits, n = found["hits"], found["n"]
        conditions = tuple(sorted(found["conditions"].split(_AND)))
        return Rule(conditions, found["label"], float(hits) if hits else None, float(n) if n else None)

    @cached_property
    def _sentence(self) -> re.Pattern[str]:
        verb = f" {re.escape(self.verb)}" if self.verb else ""
        evidence = r"(?: \((?P<hits>\d+(?:\.\d)?) of (?P<n>\d+(?:\.\d)?)\))?"
        return re.compile(rf"{re.escape(self.subject)} (?P<conditions>.+){verb} (?P<label>\S+){evidence}\.")


class Learner(Protocol):
    """Whatever turns notes and what was seen since into new notes."""

    def learn(self, notes: str, minibatches: Sequence[Sequence[Example]]) -> str:
        """One revision, after the induction of each minibatch."""
        ...


@dataclass(frozen=True)
class RuleLearner:
    """The deterministic learner: it counts."""

    wording: Wording
    config: NotesConfig

    def learn(self, notes: str, minibatches: Sequence[Sequence[Example]]) -> str:
        """One revision; what the minibatches counted is added up first."""
        return self.revise(notes, added(map(count, minibatches)))

    def revise(self, notes: str, counts: Counts) -> str:
        """Merge what was counted into the notes, under the word budget.

        The first sentences (`kept`) stay as they are, except that with evidence their counts grow, and that one whose
        evidence no longer supports it makes room. Behind them come the best of the others and of the batch note.
        """
        lines = kept(notes, self.config.momentum)
        if not self.config.evidence_carry:
            said = {rule.conditions for rule in self.wording.read("\n".join(lines))}
            batch = [replace(rule, hits=None, n=None) for rule in induct(counts) if rule.conditions not in said]
            return self._within_budget([*lines, *map(self.wording.say, batch)])
        rules = [carried(rule, counts, self.config.evidence_carry) for rule in self.wording.read(notes)]
        n_kept = len(self.wording.read("\n".join(lines)))
        first = [rule for rule in rules[:n_kept] if stands(rule, counts)]
        known = {rule.conditions for rule in rules}
        others = [rule for rule in rules[n_kept:] if stands(rule, counts)]
        others += [rule for rule in induct(counts) if rule.conditions not in known]
        return self._within_budget(map(self.wording.say, [*first, *ranked(others, first)]))

    def _within_budget(self, lines: Iterable[str]) -> str:
        """The lines that fit, in their order; a shorter one may still fit where a longer one did not."""
        left, fitting = self.config.max_words, []
        for line in lines:
            if n_words(line) <= left:
                fitting.append(line)
                left -= n_words(line)
        return "\n".join(fitting)


# -- induction ------------------------------------------------------------------------------------------------------


def count(examples: Iterable[Example]) -> dict[Conditions, Counter[str]]:
    """Label counts of every condition, of every pair of them, and of all examples."""
    counts: dict[Conditions, Counter[str]] = defaultdict(Counter)
    for conditions, label in examples:
        given = sorted(conditions)
        for size in range(3):
            for chosen in combinations(given, size):
                counts[chosen][label] += 1
    return counts


def added(several: Iterable[Counts]) -> dict[Conditions, Counter[str]]:
    """Counts of several minibatches, added up."""
    total: dict[Conditions, Counter[str]] = defaultdict(Counter)
    for counts in several:
        for conditions, labels in counts.items():
            found = total[conditions]
            for label, n in labels.items():
                found[label] += n
    return total


def induct(counts: Counts, n_rules: int = BATCH_RULES) -> list[Rule]:
    """The batch note: the best-supported rules that say more than the shares of the labels do."""
    rules = []
    for conditions, labels in counts.items():
        if conditions:
            hits, label = min((-n, label) for label, n in labels.items())  # of equally frequent ones the first by name
            rule = Rule(conditions, label, -hits, sum(labels.values()))
            if stands(rule, counts):
                rules.append(rule)
    return ranked(rules)[:n_rules]


def ranked(rules: Iterable[Rule], said: Sequence[Rule] = ()) -> list[Rule]:
    """Best supported first, without those that a better (or already said) more general one implies."""
    found: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: (-rule.bound, len(rule.conditions), rule.conditions)):
        if not any(_implies(other, rule) for other in (*said, *found)):
            found.append(rule)
    return found


def _implies(general: Rule, special: Rule) -> bool:
    return general.label == special.label and set(general.conditions) < set(special.conditions)


def wilson(hits: float, n: float) -> float:
    """Lower bound of the Wilson score interval of a share."""
    share, z2 = hits / n, _Z * _Z
    return (share + z2 / (2 * n) - _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)


# -- revision -------------------------------------------------------------------------------------------------------


def kept(notes: str, momentum: float) -> list[str]:
    """The lines that hold the first words of the notes: `momentum` of all, completed to the end of the sentence."""
    wanted, lines = round(momentum * n_words(notes)), []
    for line in notes.splitlines():
        if wanted <= 0:
            break
        lines.append(line)
        wanted -= n_words(line)
    return lines


def carried(rule: Rule, counts: Counts, carry: float) -> Rule:
    """A rule with its old evidence at the weight `carry` and the new one added; a majority that turned turns it."""
    new = counts.get(rule.conditions, Counter())
    hits = round(carry * (rule.hits or 0) + new[rule.label], 1)
    n = round(carry * (rule.n or 0) + new.total(), 1)
    turned = min(((-found, label) for label, found in new.items()), default=(0, ""))
    if -turned[0] > hits:
        return Rule(rule.conditions, turned[1], -turned[0], n)
    return Rule(rule.conditions, rule.label, hits, n)


def stands(rule: Rule, counts: Counts) -> bool:
    """Whether the evidence says more than that the label is frequent anyway."""
    labels = counts.get((), Counter())
    return rule.bound > labels[rule.label] / labels.total() if labels else True


def n_words(text: str) -> int:
    """Words of a text: what the budget counts."""
    return len(text.split())


# -- inference ------------------------------------------------------------------------------------------------------


def by_trust(rules: Iterable[Rule]) -> list[Rule]:
    """The order in which a reader believes rules: best supported first where they carry evidence, else as written."""
    return sorted(rules, key=lambda rule: -rule.bound)


def infer(rules: Iterable[Rule], conditions: Collection[str]) -> str | None:
    """The label of the most trusted rule that applies; None where none does."""
    return next((rule.label for rule in by_trust(rules) if set(rule.conditions) <= set(conditions)), None)
