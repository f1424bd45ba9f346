"""In-Memory Learning's notes on a benchmark of creatures: momentum, accumulation, label noise, carried evidence.

    synde study notes [--preset quick]

The learner counts; a language model keeps the notes in one row, if an endpoint is configured. Numbers are means over
seeds: each seed has its own hidden table, samples and held-out creatures.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from synde_pipeline.memory.notes import RuleLearner, count
from synde_pipeline.studies.creatures import (
    CHANCE,
    EASY,
    HARD,
    N_SAMPLES,
    WORDING,
    World,
    nearest_examples,
    words_of_example,
)
from synde_pipeline.studies.notes_asked import asked, claim_of, title_of
from synde_pipeline.studies.notes_claims import claims_of
from synde_pipeline.studies.notes_page import render
from synde_pipeline.studies.notes_runs import MINIBATCH, Cell, Curve, run
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun

TITLE = "Deterministic note learner, not an LLM; not comparable to 58.67 %"
MOMENTA, ACCUMULATIONS, NOISES, CARRIES = (0.0, 0.5, 1.0), (1, 4, 16), (0.0, 0.1, 0.2, 0.3), (0.0, 0.5, 0.9, 1.0)
WORDS, WORDS_WITH_EVIDENCE = 90, 140
"""Budget of the notes; evidence takes three words a sentence, so that both hold about as many sentences."""
WINDOWS = (1024, 2048, 4096, 8192, 32768)
N_ASKED = 3
"""Seeds that a language model is asked about."""
_TOKENS_PER_WORD = 4 / 3
_RESERVED = 256
"""Tokens of a window that instructions and the answer take."""
BY_SEED = ("accuracy", "deviation", "gain", "drawdown", "precision")
"""Numbers that claims are made of."""
N_POINTS = 20
"""Points of a curve that the report keeps."""


def study(run: StudyRun) -> Sequence[Claim]:
    """Run the benchmark; writes report.json and report.html, and returns what it shows of the document's claims."""
    bench = Benchmark(range(3) if run.is_quick else range(6), N_SAMPLES // 4 if run.is_quick else N_SAMPLES)
    report = bench.report()
    report["asked"] = asked(bench.seeds[:N_ASKED], run.settings)
    report["title"] = title_of(report["asked"], TITLE)
    claims = [*claims_of(report, run.command), claim_of(report["asked"], run.command)]
    report["claims"] = [claim.model_dump(mode="json") for claim in claims]
    (run.folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
    (run.folder / "report.html").write_text(render(report), "utf-8")
    return claims


@dataclass(frozen=True)
class Benchmark:
    """All runs of the benchmark on some seeds."""

    seeds: Sequence[int]
    n_samples: int = N_SAMPLES

    def report(self) -> dict[str, Any]:
        """Everything that is measured, as JSON values."""
        grid = [Cell(m, a, noise) for noise, m, a in product(NOISES, MOMENTA, ACCUMULATIONS)]
        carry = [
            Cell(m, a, noise, c, WORDS_WITH_EVIDENCE)
            for noise, a, m, c in product((0.1, 0.2), (1, 4), (0.0, 0.5), CARRIES)
        ]
        hard = [Cell(m, a, noise) for noise, m, a in product((0.0, 0.2), MOMENTA, (4, 16))]
        success = [Cell(0.5, a, noise, feedback="success") for noise, a in product(NOISES, ACCUMULATIONS)]
        return {
            "title": TITLE,
            "n_seeds": len(self.seeds),
            "n_samples": self.n_samples,
            "chance": CHANCE,
            "grid": self.rows(grid),
            "carry": self.rows(carry),
            "hard": self.rows(hard, HARD),
            "success_only": self.rows(success),
            "single_step": [self._single_step(noise, n) for noise, n in product(NOISES, (10, 40, 160, 640))],
            "in_context": [self._in_context(noise, words) for noise, words in product(NOISES, (90, 140))],
            "windows": [self._window(tokens) for tokens in WINDOWS],
            "transfer": [self._transfer(carry) for carry in CARRIES],
            "notes": run(self.worlds[0], Cell(0.5, 4, 0.1, 1.0, WORDS_WITH_EVIDENCE)).notes,
        }

    @cached_property
    def worlds(self) -> list[World]:
        """The easy world of each seed."""
        return [World.of(seed, EASY, self.n_samples) for seed in self.seeds]

    @cached_property
    def _hard_worlds(self) -> list[World]:
        return [World.of(seed, HARD, self.n_samples) for seed in self.seeds]

    def rows(self, cells: Iterable[Cell], n_reads: int = EASY) -> list[dict[str, Any]]:
        """Runs of each setting on every seed, summed up."""
        worlds = self.worlds if n_reads == EASY else self._hard_worlds
        return [self._row(cell, worlds) for cell in cells]

    def _row(self, cell: Cell, worlds: Sequence[World]) -> dict[str, Any]:
        curves = [run(world, cell) for world in worlds]
        numbers = [
            {**curve.numbers(), **world.quality(curve.notes)} for curve, world in zip(curves, worlds, strict=True)
        ]
        return {
            **asdict(cell),
            "n": len(curves),
            **{name: _mean(one[name] for one in numbers) for name in numbers[0]},
            "by_seed": {name: [one[name] for one in numbers] for name in BY_SEED},
            "signatures": dict(Counter(curve.signature() for curve in curves).most_common()),
            "curve": self._thinned(curves, cell),
        }

    def _thinned(self, curves: Sequence[Curve], cell: Cell) -> list[list[float]]:
        """Mean curve: samples seen, accuracy."""
        mean = np.mean([curve.accuracies for curve in curves], axis=0)
        seen = np.minimum((np.arange(len(mean)) + 1) * cell.accumulation * MINIBATCH, self.n_samples)
        chosen = np.unique(np.linspace(0, len(mean) - 1, N_POINTS).round().astype(int))
        return [[int(seen[k]), float(mean[k])] for k in chosen]

    def _over_seeds(self, measure: Callable[[World], float]) -> dict[str, Any]:
        values = [measure(world) for world in self.worlds]
        return {"accuracy": _mean(values), "by_seed": {"accuracy": values}, "n": len(values)}

    def _single_step(self, noise: float, n: int) -> dict[str, Any]:
        """One inference, induction and revision of n samples, from empty notes."""
        return {"noise": noise, "samples": n, **self._over_seeds(lambda world: one_step(world, noise, n))}

    def _in_context(self, noise: float, words: int) -> dict[str, Any]:
        """As many samples as the notes' words hold: the most similar of all, or the last ones."""
        k = words // words_of_example()
        nearest = self._over_seeds(lambda world: nearest_examples(world, noise, k))
        recent = self._over_seeds(lambda world: nearest_examples(world, noise, 1, pool=k))
        return {"noise": noise, "words": words, "examples": k, "nearest": nearest, "recent": recent}

    def _window(self, tokens: int) -> dict[str, Any]:
        """The largest batch that a context window holds beside the notes, and what one induction of it is worth."""
        left = tokens - _RESERVED - WORDS * _TOKENS_PER_WORD
        n = int(left / (words_of_example() * _TOKENS_PER_WORD))
        used = min(n, self.n_samples)
        return {"tokens": tokens, "batch": n, **self._over_seeds(lambda world: one_step(world, 0.2, used))}

    def _transfer(self, carry: float) -> dict[str, Any]:
        """Learn one table, then the related one in which two kinds have changed places: with the old notes, or none."""
        cell = Cell(0.5, 4, 0.1, carry, WORDS_WITH_EVIDENCE)
        early = max(1, self.n_samples // 10 // (cell.accumulation * MINIBATCH))
        rows = []
        for world in self.worlds:
            related, notes = world.related(), run(world, cell).notes
            went_on, afresh = run(related, cell, notes), run(related, cell)
            rows.append(
                {
                    "at_once": related.accuracy(notes),
                    "early": float(np.mean(went_on.accuracies[:early])),
                    "early_afresh": float(np.mean(afresh.accuracies[:early])),
                    "late": went_on.numbers()["accuracy"],
                    "late_afresh": afresh.numbers()["accuracy"],
                }
            )
        by_seed = {name: [row[name] for row in rows] for name in rows[0]}
        return {"carry": carry, "n": len(rows), **{name: _mean(v) for name, v in by_seed.items()}, "by_seed": by_seed}


def one_step(world: World, noise: float, n: int) -> float:
    """Accuracy of the notes that one revision makes of the first n samples."""
    cell = replace(Cell(0.0, 1, noise), max_words=WORDS)
    notes = RuleLearner(WORDING, cell.config).revise("", count(world.examples(noise)[:n]))
    return world.accuracy(notes)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
