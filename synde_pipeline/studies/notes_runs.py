"""One run of the notes benchmark: a learner reads a world's samples in order; what its notes were worth on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from synde_pipeline.memory.notes import Counts, Example, Learner, RuleLearner, added, by_trust, count, induct, shares
from synde_pipeline.memory.notes_text import Conditions, Rule
from synde_pipeline.settings import NotesConfig
from synde_pipeline.studies.creatures import KINDS, WORDING, World, answers, columns_of, conditions_of

Window = tuple[Counts, list[Rule]]
"""What was counted since the last revision, and its batch note."""

MINIBATCH = 10

# Thresholds of the failure signatures, on the second half of a run.
GOOD = 0.9
"""Accuracy from which on a plateau is no failure."""
UNSTABLE = 0.05
"""Standard deviation of the accuracy."""
PROGRESS = 0.02
"""Gain in accuracy from one half of the run to the next."""


@dataclass(frozen=True)
class Cell:
    """One setting of the benchmark."""

    momentum: float
    accumulation: int
    noise: float
    carry: float = 0.0
    max_words: int = 90
    feedback: Literal["label", "success"] = "label"

    @property
    def config(self) -> NotesConfig:
        """The same as the notes of a domain have it."""
        return NotesConfig(
            minibatch=MINIBATCH,
            accumulation=self.accumulation,
            momentum=self.momentum,
            evidence_carry=self.carry,
            max_words=self.max_words,
        )


@dataclass(frozen=True)
class Curve:
    """What a run was worth after each of its revisions."""

    accuracies: tuple[float, ...]
    """On held-out creatures, without noise."""
    changes: tuple[bool, ...]
    """Whether a revision changed the rules, in text or in order."""
    notes: str
    """At the end."""

    @property
    def second_half(self) -> tuple[float, ...]:
        """Accuracies once the run has settled, if it does."""
        return self.accuracies[len(self.accuracies) // 2 :]

    def numbers(self) -> dict[str, float]:
        """What is charted: mean and deviation of the second half, the deepest fall from a peak, gains of halves."""
        all_of_it = np.array(self.accuracies)
        late = np.array(self.second_half)
        halves = np.array_split(late, 2)
        return {
            "accuracy": float(late.mean()),
            "deviation": float(late.std()),
            "drawdown": float((np.maximum.accumulate(all_of_it) - all_of_it).max()),
            "gain": float(late.mean() - all_of_it[: len(all_of_it) - len(late)].mean()) if len(all_of_it) > 1 else 0.0,
            "late_gain": float(halves[1].mean() - halves[0].mean()) if len(late) > 1 else 0.0,
        }

    def signature(self) -> str:
        """Which failure the run shows, by thresholds: frozen, variance, decline, plateau, or none."""
        found = self.numbers()
        late_changes = self.changes[len(self.changes) // 2 :]
        if found["accuracy"] < GOOD and not any(late_changes):
            return "frozen"
        if found["deviation"] > UNSTABLE:
            return "variance"
        if found["gain"] < -PROGRESS:
            return "decline"
        if found["accuracy"] < GOOD and found["late_gain"] < PROGRESS:
            return "plateau"
        return "none"


def run(world: World, cell: Cell, notes: str = "") -> Curve:
    """Let the learner read all samples of a world, starting from notes."""
    learner = RuleLearner(WORDING, cell.config)
    accuracies: list[float] = []
    changes: list[bool] = []
    windows = labelled(world, cell.noise, cell.accumulation) if cell.feedback == "label" else _Acting(world, cell)
    for counts, batch in windows:
        before, notes = notes, learner.revise(notes, counts, batch)
        if isinstance(windows, _Acting):
            windows.notes = notes
        changes.append(_rules(before) != _rules(notes))
        accuracies.append(world.accuracy(notes) if changes[-1] or not accuracies else accuracies[-1])
    return Curve(tuple(accuracies), tuple(changes), notes)


def read(world: World, cell: Cell, learner: Learner) -> Curve:
    """Let any learner read all samples of a world, label by label; the one that counts does it faster in `run`."""
    examples, size, notes = world.examples(cell.noise), MINIBATCH * cell.accumulation, ""
    accuracies, changes = [], []
    for start in range(0, len(examples), size):
        window = examples[start : start + size]
        before = notes
        notes = learner.learn(notes, [window[k : k + MINIBATCH] for k in range(0, len(window), MINIBATCH)])
        changes.append(_rules(before) != _rules(notes))
        accuracies.append(world.accuracy(notes))
    return Curve(tuple(accuracies), tuple(changes), notes)


def _rules(notes: str) -> list[tuple[Conditions, str]]:
    """What notes say, without their counts, in the order in which a reader believes it."""
    return [(rule.conditions, rule.label) for rule in by_trust(WORDING.read(notes))]


@lru_cache(maxsize=8)
def minibatches(world: World, noise: float) -> tuple[Counts, ...]:
    """Each minibatch, counted once for all settings."""
    examples = world.examples(noise)
    return tuple(count(examples[start : start + MINIBATCH]) for start in range(0, len(examples), MINIBATCH))


@lru_cache(maxsize=24)
def labelled(world: World, noise: float, accumulation: int) -> tuple[Window, ...]:
    """What each revision gets to see where labels are revealed: the same for all settings of the learner."""
    several = minibatches(world, noise)
    if accumulation == 1:
        return tuple(map(_window, several))
    starts = range(0, len(several), accumulation)
    return tuple(_window(added(several[start : start + accumulation])) for start in starts)


def _window(counts: Counts) -> Window:
    return counts, induct(counts, shares(counts))


class _Acting:
    """What each revision gets to see where only success is: it depends on what the notes made the agent do."""

    def __init__(self, world: World, cell: Cell) -> None:
        self.notes = ""
        self._window = cell.accumulation * MINIBATCH
        self._kinds = world.observed(cell.noise)
        self._guesses = np.random.default_rng([world.seed, MINIBATCH]).integers(len(KINDS), size=len(self._kinds))
        self._columns = columns_of(world.samples)
        self._said = [conditions_of(row) for row in world.samples]

    def __iter__(self) -> Iterator[Window]:
        for start in range(0, len(self._kinds), self._window):
            part = slice(start, start + self._window)
            said = answers(WORDING.read(self.notes), self._columns[part])
            acted = np.where(said < 0, self._guesses[part], said)
            known = np.flatnonzero(acted == self._kinds[part])  # a wrong guess does not say what would have been right
            yield _window(count(Example(self._said[start + k], KINDS[acted[k]]) for k in known))
