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
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import sqrt
from typing import NamedTuple, Protocol

from synde_pipeline.settings import NotesConfig

Conditions = tuple[str, ...]
"""Sorted; empty is everything."""
Labels = Counter[str]
"""Label -> how often (weights added up)."""
Counts = Mapping[Conditions, Labels]
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
    weight: float = 1
    """Less than 1 where several examples are not independent."""


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
    min_hits: int = 1
    """What a new sentence needs: fewer are an accident."""

    def learn(self, notes: str, minibatches: Sequence[Sequence[Example]]) -> str:
        """One revision; what the minibatches counted is added up first."""
        return self.revise(notes, added(map(count, minibatches)))

    def revise(self, notes: str, counts: Counts) -> str:
        """Merge what was counted into the notes, under the word budget.

        The first sentences (`kept`) stay as they are, except that with evidence their counts grow, and that one whose
        evidence has turned is turned or goes. Behind them come the best of the others and of the batch note.
        """
        lines = kept(notes, self.config.momentum)
        if not self.config.evidence_carry:
            said = {rule.conditions for rule in self.wording.read("\n".join(lines))}
            batch = [rule for rule in induct(counts, shares(counts), self.min_hits) if rule.conditions not in said]
            return within_budget(
                self.config.max_words, [*lines, *(self.wording.say(rule.without_evidence) for rule in batch)]
            )
        carry, labels = self.config.evidence_carry, self.wording.labels
        rules = [carried(rule, counts, carry, labels) for rule in self.wording.read(notes)]
        whole = self._whole(rules, counts)
        share = shares(counts, whole)
        n_kept = len(self.wording.read("\n".join(lines)))
        first = [rule for rule in rules[:n_kept] if rule.conditions and stands(rule, share)]
        others = [rule for rule in rules[n_kept:] if rule.conditions and stands(rule, share)]
        known = {rule.conditions for rule in rules}
        others += [rule for rule in induct(counts, share, self.min_hits) if rule.conditions not in known]
        return within_budget(
            self.config.max_words, map(self.wording.say, [*filter(None, [whole]), *first, *ranked(others, first)])
        )

    def _whole(self, rules: Sequence[Rule], counts: Counts) -> Rule | None:
        """The sentence about everything, where the notebook has one."""
        found = next((rule for rule in rules if not rule.conditions), None)
        return found or (most_frequent((), counts[()]) if self.wording.whole and counts.get(()) else None)


# -- induction ------------------------------------------------------------------------------------------------------


def count(examples: Iterable[Example]) -> dict[Conditions, Labels]:
    """Label counts of every condition, of every pair of them, and of all examples."""
    counts: dict[Conditions, Labels] = defaultdict(Counter)
    for conditions, label, weight in examples:
        given = sorted(conditions)
        for size in range(3):
            for chosen in combinations(given, size):
                counts[chosen][label] += weight
    return counts


def added(several: Iterable[Counts]) -> dict[Conditions, Labels]:
    """Counts of several minibatches, added up."""
    total: dict[Conditions, Labels] = defaultdict(Counter)
    for counts in several:
        for conditions, labels in counts.items():
            found = total[conditions]
            for label, n in labels.items():
                found[label] += n
    return total


def shares(counts: Counts, whole: Rule | None = None) -> dict[str, float]:
    """How frequent each label is anyway: by the sentence about everything (of two labels), else by what was counted."""
    labels = counts.get((), Counter())
    if whole is not None and whole.hits is not None and whole.n:
        return dict.fromkeys(labels, 1 - whole.hits / whole.n) | {whole.label: whole.hits / whole.n}
    return {label: n / labels.total() for label, n in labels.items()}


def induct(counts: Counts, share: Mapping[str, float], min_hits: int = 1) -> list[Rule]:
    """The batch note: the best-supported rules that say more than the shares of the labels do."""
    found = (most_frequent(conditions, labels) for conditions, labels in counts.items() if conditions)
    return ranked(rule for rule in found if (rule.hits or 0) >= min_hits and stands(rule, share))[:BATCH_RULES]


def most_frequent(conditions: Conditions, labels: Labels) -> Rule:
    """What is most often so under conditions; of equally frequent labels the first by name."""
    hits, label = min((-n, label) for label, n in labels.items())
    return Rule(conditions, label, round(-hits, 1), round(labels.total(), 1))


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


def carried(rule: Rule, counts: Counts, carry: float, labels: tuple[str, ...] = ()) -> Rule:
    """A rule with its old evidence at the weight `carry` and the new one added; a majority that turned turns it.

    Of more than two labels the text does not say which of the others the old misses had: only new ones turn it then.
    """
    new = counts.get(rule.conditions, Counter())
    hits = round(carry * (rule.hits or 0) + new[rule.label], 1)
    n = round(carry * (rule.n or 0) + new.total(), 1)
    if len(labels) == 2:
        others = {label: round(n - hits, 1) for label in labels if label != rule.label}
    else:
        others = {label: found for label, found in new.items() if label != rule.label}
    label = min(others, key=lambda label: (-others[label], label), default=rule.label)
    if others.get(label, 0) > hits:
        return Rule(rule.conditions, label, others[label], n)
    return Rule(rule.conditions, rule.label, hits, n)


def stands(rule: Rule, share: Mapping[str, float]) -> bool:
    """Whether the evidence says more than that the label is frequent anyway."""
    return rule.bound > share.get(rule.label, 0.0)


def within_budget(max_words: int, lines: Iterable[str]) -> str:
    """The lines that fit, in their order; a shorter one may still fit where a longer one did not."""
    fitting: list[str] = []
    for line in lines:
        if n_words(line) <= max_words:
            fitting.append(line)
            max_words -= n_words(line)
    return "\n".join(fitting)


def n_words(text: str) -> int:
    """Words of a text: what the budget counts."""
    return len(text.split())


# -- inference ------------------------------------------------------------------------------------------------------


def by_trust(rules: Iterable[Rule]) -> list[Rule]:
    """The order in which a reader believes rules: best supported first where they carry evidence, else as written.

    What is said of everything comes last.
    """
    return sorted(rules, key=lambda rule: (not rule.conditions, -rule.bound))


def infer(rules: Iterable[Rule], conditions: Collection[str]) -> str | None:
    """The label of the most trusted rule that applies; None where none does."""
    return next((rule.label for rule in by_trust(rules) if set(rule.conditions) <= set(conditions)), None)
