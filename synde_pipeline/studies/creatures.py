"""In-Memory Learning's benchmark, rebuilt: creatures of ten binary dimensions, four kinds, a hidden truth table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.notes import Example, by_trust
from synde_pipeline.memory.notes_text import Rule, Wording

ATTRIBUTES = (
    ("scaly skin", "smooth skin"),
    ("night activity", "day activity"),
    ("long tails", "short tails"),
    ("webbed feet", "clawed feet"),
    ("large eyes", "small eyes"),
    ("loud calls", "soft calls"),
    ("curved horns", "straight horns"),
    ("striped backs", "spotted backs"),
    ("river homes", "forest homes"),
    ("plant diets", "insect diets"),
)
KINDS = ("Borin", "Keld", "Mosk", "Tavi")
CHANCE = 1 / len(KINDS)
WORDING = Wording("Creatures with", "are")
N_SAMPLES = 3200
N_HELD_OUT = 500
EASY, HARD = 2, 3
"""Attributes that the hidden table reads. Rules have two at most: of a hard table they can only say a part."""

Creatures = NDArray[np.int64]
"""One creature a row, one attribute a column, shape (n, 10), values 0 and 1."""

_EVERY: Creatures = np.array(list(product((0, 1), repeat=len(ATTRIBUTES))))
_COLUMN = {words: 2 * k + value for k, pair in enumerate(ATTRIBUTES) for value, words in enumerate(pair)}


@dataclass(frozen=True, eq=False)
class World:
    """One seed's hidden table, its shuffled samples and the creatures that no sample shows."""

    seed: int
    reads: tuple[int, ...]
    """Attributes that decide."""
    table: tuple[int, ...]
    """Kind of each combination of their values, the first attribute counting most."""
    samples: Creatures
    held_out: Creatures
    draws: NDArray[np.float64]
    """One number in 0..1 a sample: its label is wrong at all noise levels above it."""
    errors: NDArray[np.int64]
    """By how much a wrong label is off, 1 to 3, for each sample."""

    @classmethod
    def of(cls, seed: int, n_reads: int = EASY, n_samples: int = N_SAMPLES) -> "World":
        """The world of a seed; every kind has as many combinations as the others."""
        rng = np.random.default_rng([seed, n_reads])
        reads = tuple(int(k) for k in sorted(rng.choice(len(ATTRIBUTES), n_reads, replace=False)))
        table = rng.permutation(np.arange(2**n_reads) % len(KINDS))
        shuffled = _EVERY[rng.permutation(len(_EVERY))]
        shown = shuffled[N_HELD_OUT:]
        return cls(
            seed=seed,
            reads=reads,
            table=tuple(int(kind) for kind in table),
            samples=shown[rng.integers(len(shown), size=n_samples)],
            held_out=shuffled[:N_HELD_OUT],
            draws=rng.random(n_samples),
            errors=rng.integers(1, len(KINDS), size=n_samples),
        )

    def related(self) -> "World":
        """The same world after two of its kinds have changed places."""
        return replace(self, table=tuple({0: 1, 1: 0}.get(kind, kind) for kind in self.table))

    def kinds(self, creatures: Creatures) -> NDArray[np.int64]:
        """True kind of each creature, shape (n,)."""
        weights = 2 ** np.arange(len(self.reads))[::-1]
        return np.array(self.table)[creatures[:, self.reads] @ weights]

    def observed(self, noise: float) -> NDArray[np.int64]:
        """Kinds of the samples as they are revealed, a share of them wrong; shape (samples,)."""
        return (self.kinds(self.samples) + self.errors * (self.draws < noise)) % len(KINDS)

    def examples(self, noise: float) -> list[Example]:
        """The samples in words, with their revealed kinds."""
        kinds = self.observed(noise)
        return [Example(conditions_of(row), KINDS[kind]) for row, kind in zip(self.samples, kinds, strict=True)]

    # -- how good notes are -------------------------------------------------------------------------------------------

    def accuracy(self, notes: str) -> float:
        """Share of the held-out creatures whose kind notes give right; where they say nothing, a guess is at chance."""
        given = answers(WORDING.read(notes), self.held_out_columns)
        return float((given == self._held_out_kinds).mean() + CHANCE * (given < 0).mean())

    def quality(self, notes: str) -> dict[str, float]:
        """Notes against the hidden table.

        precision: sentences that hold for every creature they speak of; recall: combinations of the table that such
        sentences cover; said: mean share of creatures for which a sentence holds.
        """
        rules = WORDING.read(notes)
        columns, kinds = columns_of(_EVERY), self.kinds(_EVERY)
        applies = [_applies(rule, columns) for rule in rules]
        shares = [
            float((kinds[where] == KINDS.index(rule.label)).mean()) for rule, where in zip(rules, applies, strict=True)
        ]
        true = [where for where, share in zip(applies, shares, strict=True) if share == 1.0]
        covered = np.any(true, axis=0) if true else np.zeros(len(_EVERY), bool)
        return {
            "precision": len(true) / len(rules) if rules else 0.0,
            "recall": float(covered.mean()),
            "said": float(np.mean(shares)) if shares else 0.0,
            "words": float(len(notes.split())),
            "sentences": float(len(rules)),
        }

    @cached_property
    def held_out_columns(self) -> NDArray[np.bool_]:
        """Which condition holds for which held-out creature, shape (500, 20)."""
        return columns_of(self.held_out)

    @cached_property
    def _held_out_kinds(self) -> NDArray[np.int64]:
        return self.kinds(self.held_out)


def conditions_of(creature: Sequence[int] | NDArray[np.int64]) -> frozenset[str]:
    """A creature in words."""
    return frozenset(pair[value] for pair, value in zip(ATTRIBUTES, creature, strict=True))


def columns_of(creatures: Creatures) -> NDArray[np.bool_]:
    """Which condition holds for which creature, shape (n, 20)."""
    return np.stack([creatures == 0, creatures == 1], axis=2).reshape(len(creatures), -1)


def _applies(rule: Rule, columns: NDArray[np.bool_]) -> NDArray[np.bool_]:
    places = [_COLUMN[words] for words in rule.conditions if words in _COLUMN]
    if len(places) < len(rule.conditions):  # words that no creature has: a learner that makes things up
        return np.zeros(len(columns), bool)
    return np.all(columns[:, places], axis=1)


def answers(rules: Iterable[Rule], columns: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What rules say of many creatures at once, as `notes.infer` does of one; -1 where they say nothing; shape (n,)."""
    given = np.full(len(columns), -1)
    for rule in by_trust(rules):
        kind = KINDS.index(rule.label) if rule.label in KINDS else -1
        given[_applies(rule, columns) & (given < 0)] = kind
    return given


def nearest_examples(world: World, noise: float, k: int, pool: int | None = None) -> float:
    """Accuracy of plain in-context examples: the vote of the k most similar samples; among equals the most recent.

    Args:
        world: whose held-out creatures are asked about.
        noise: of the samples' labels.
        k: examples that vote.
        pool: how many of the last samples are kept to choose from; None keeps every one, which notes do not need.
    """
    samples, kinds = world.samples[::-1][:pool], world.observed(noise)[::-1][:pool]
    distance = (world.held_out[:, None, :] != samples[None, :, :]).sum(axis=2)  # (500, samples)
    near = kinds[np.argsort(distance, axis=1, kind="stable")[:, :k]]
    votes = np.stack([(near == kind).sum(axis=1) for kind in range(len(KINDS))], axis=1)
    tied = votes == votes.max(axis=1, keepdims=True)
    first = np.argmax(np.take_along_axis(tied, near, axis=1), axis=1)  # of tied kinds that of the nearest sample
    return float((near[np.arange(len(near)), first] == world.kinds(world.held_out)).mean())


def words_of_example() -> int:
    """Words that one sample takes in a prompt: its ten attributes and its kind."""
    return sum(len(pair[0].split()) for pair in ATTRIBUTES) + 1
