"""A notebook that learns (In-Memory Learning, arXiv 2403.02757): inference -> induction -> revision. Pure.

The state is text and nothing else: one sentence a line, read back at every use. What the sentences are about belongs to
a `Wording`: creatures of the benchmark, or runs of a domain (`notebook`).

With `evidence_carry` 0 this is the loop as published: a revision copies the first words of the old notes and fills up
with what the last minibatches taught. With more (ours) each sentence carries its counts, "(12 of 14)": old counts are
carried on with that weight, sentences are ranked anew by them, and one whose evidence has turned goes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, Protocol

from synde_pipeline.memory.notes_text import Conditions, Rule, Wording, kept, within_budget
from synde_pipeline.settings import NotesConfig

Labels = dict[str, float]
"""Label -> how often (weights added up)."""
Counts = Mapping[Conditions, Labels]
"""How often each label went with conditions; those of the empty conditions are the labels' shares."""

BATCH_RULES = 12
"""Sentences of a batch note."""


class Example(NamedTuple):
    """One thing that was seen, and what it turned out to be."""

    conditions: frozenset[str]
    label: str
    weight: float = 1
    """Less than 1 where several examples are not independent."""


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

    def revise(self, notes: str, counts: Counts, batch: Sequence[Rule] | None = None) -> str:
        """Merge what was counted into the notes, under the word budget.

        The first sentences (`kept`) stay as they are, except that with evidence their counts grow, and that one whose
        evidence has turned is turned or goes. Behind them come the best of the others and of the batch note.

        Args:
            notes: so far.
            counts: of everything seen since.
            batch: the batch note of these counts, where it is there already.
        """
        lines = kept(notes, self.config.momentum)
        if not self.config.evidence_carry:
            said = {rule.conditions for rule in self.wording.read("\n".join(lines))}
            found = induct(counts, shares(counts), self.min_hits) if batch is None else batch
            new = [self.wording.say(rule.without_evidence) for rule in found if rule.conditions not in said]
            return within_budget(self.config.max_words, [*lines, *new])
        carry, labels = self.config.evidence_carry, self.wording.labels
        rules = [carried(rule, counts, carry, labels) for rule in self.wording.read(notes)]
        whole = self._whole(rules, counts)
        share = shares(counts, whole)
        n_kept = len(self.wording.read("\n".join(lines)))
        first = [rule for rule in rules[:n_kept] if rule.conditions and stands(rule, share)]
        others = [rule for rule in rules[n_kept:] if rule.conditions and stands(rule, share)]
        known = {rule.conditions for rule in rules}
        found = induct(counts, share, self.min_hits) if batch is None else batch
        others += [rule for rule in found if rule.conditions not in known]
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
    counts: dict[Conditions, Labels] = defaultdict(lambda: defaultdict(float))
    for conditions, label, weight in examples:
        given = sorted(conditions)
        for size in range(3):
            for chosen in combinations(given, size):
                counts[chosen][label] += weight
    return counts


def added(several: Iterable[Counts]) -> dict[Conditions, Labels]:
    """Counts of several minibatches, added up."""
    total: dict[Conditions, Labels] = defaultdict(lambda: defaultdict(float))
    for counts in several:
        for conditions, labels in counts.items():
            found = total[conditions]
            for label, n in labels.items():
                found[label] += n
    return total


def shares(counts: Counts, whole: Rule | None = None) -> dict[str, float]:
    """How frequent each label is anyway: by the sentence about everything (of two labels), else by what was counted."""
    labels = counts.get((), {})
    if whole is not None and whole.hits is not None and whole.n:
        return dict.fromkeys(labels, 1 - whole.hits / whole.n) | {whole.label: whole.hits / whole.n}
    return {label: n / sum(labels.values()) for label, n in labels.items()}


def induct(counts: Counts, share: Mapping[str, float], min_hits: int = 1) -> list[Rule]:
    """The batch note: the best-supported rules that say more than the shares of the labels do."""
    found = (most_frequent(conditions, labels) for conditions, labels in counts.items() if conditions)
    return ranked(rule for rule in found if (rule.hits or 0) >= min_hits and stands(rule, share))[:BATCH_RULES]


def most_frequent(conditions: Conditions, labels: Labels) -> Rule:
    """What is most often so under conditions; of equally frequent labels the first by name."""
    hits, label = min((-n, label) for label, n in labels.items())
    return Rule(conditions, label, round(-hits, 1), round(sum(labels.values()), 1))


def ranked(rules: Iterable[Rule], said: Sequence[Rule] = ()) -> list[Rule]:
    """Best supported first, without those that a better (or already said) more general one implies."""
    found: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: (-rule.bound, len(rule.conditions), rule.conditions)):
        if not any(_implies(other, rule) for other in (*said, *found)):
            found.append(rule)
    return found


def _implies(general: Rule, special: Rule) -> bool:
    return general.label == special.label and set(general.conditions) < set(special.conditions)


# -- revision -------------------------------------------------------------------------------------------------------


def carried(rule: Rule, counts: Counts, carry: float, labels: tuple[str, ...] = ()) -> Rule:
    """A rule with its old evidence at the weight `carry` and the new one added; a majority that turned turns it.

    Of more than two labels the text does not say which of the others the old misses had: only new ones turn it then.
    """
    new = counts.get(rule.conditions, {})
    hits = round(carry * (rule.hits or 0) + new.get(rule.label, 0), 1)
    n = round(carry * (rule.n or 0) + sum(new.values()), 1)
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


# -- inference ------------------------------------------------------------------------------------------------------


def by_trust(rules: Iterable[Rule]) -> list[Rule]:
    """The order in which a reader believes rules: best supported first where they carry evidence, else as written.

    What is said of everything comes last.
    """
    return sorted(rules, key=lambda rule: (not rule.conditions, -rule.bound))


def infer(rules: Iterable[Rule], conditions: Collection[str]) -> str | None:
    """The label of the most trusted rule that applies; None where none does."""
    return next((rule.label for rule in by_trust(rules) if set(rule.conditions) <= set(conditions)), None)
