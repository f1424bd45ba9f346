"""Does the base's attention rank memory items better than the embedder? A labelled comparison, and what it costs.

    python -m synde_pipeline.studies.blockrank

Memory holds one item a place and tool of the embedded worlds; a task is asked by its text alone, and the items of its
own place are the relevant ones. All rankers reorder the same candidates: the embedder's first ones of the domain. Layer
and signal tokens are chosen on tasks of the split `gate` on other places; what is reported are `report` tasks. The
tasks of one place are no independent units: intervals are clustered by place.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.base_model import ARTEFACT, Base, folder_hash, load_folder, one_thread
from synde_pipeline.evaluation.routing import wilson
from synde_pipeline.evaluation.stats import Estimate, estimate, paired_difference, resamples, verdict
from synde_pipeline.memory.blockrank import N_SIGNAL, BlockRank
from synde_pipeline.memory.embed import Embedder, get_embedder
from synde_pipeline.records import MemoryItem, Split
from synde_pipeline.settings import EvaluationConfig, PromptConfig, SimulationConfig
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.simulation.gates import hint
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Place, Task
from synde_pipeline.storage import Header

COMMAND = "synde study blockrank"
METRICS = ("top1", "recall3", "mrr")
DECIDES = "recall3"
"""Agents are shown three items."""

Scores = Callable[[str, Sequence[MemoryItem]], Sequence[float]]
"""A task's text and its candidates -> a score for each."""


@dataclass(frozen=True)
class Size:
    """How much the comparison tries."""

    seed: int = 1
    n_places: int = 192
    """For development, and as many others for the report; half of them sites."""
    tasks_per_place: int = 2
    n_candidates: int = 32
    n_timed: int = 30


@dataclass(frozen=True)
class Question:
    """One task, the items that the embedder found for it, and which of them are about its place."""

    task: Task
    items: list[MemoryItem]
    """Nearest first."""
    is_relevant: NDArray[np.bool_]
    n_relevant: int
    """In the whole memory."""


def run(size: Size | None = None, folder: Path = EMBEDDED_BASE) -> dict[str, Any]:
    """Choose, compare, clock, and judge.

    Args:
        size: None for the whole study.
        folder: of the base.
    """
    size = size or Size()
    config, embedder = EvaluationConfig(), get_embedder("minilm")
    base = load_folder(folder, Header(artefact=ARTEFACT, key="", content_hash=folder_hash(folder)))
    development, report = (questions(size, split, embedder) for split in ("gate", "report"))
    tried = [_tried(base, layer, n, development) for layer in range(_n_layers(base)) for n in (N_SIGNAL, None)]
    chosen = max(tried, key=lambda row: row[DECIDES])
    model = BlockRank(base, PromptConfig(), layer=chosen["layer"], n_signal=chosen["n_signal"])
    default = BlockRank(base, PromptConfig())
    rankers: dict[str, Scores] = {
        "embedder": lambda _, items: [-float(k) for k in range(len(items))],
        "words (BM25)": bm25,
        "BlockRank, chosen layer": model.scores,
        "BlockRank, middle layer": default.scores,
        "ICR, untrained": model.icr_scores,
    }
    found = {name: _metrics(report, scores) for name, scores in rankers.items()}
    found = {"chance": _chance(report), **found}
    clusters = _clusters(report)
    rows = [
        {"ranker": name, **{m: asdict(_estimate(values[m], clusters, config)) for m in METRICS}}
        for name, values in found.items()
    ]
    differences = [
        {"ranker": name, **{m: _difference(found[name][m], found["embedder"][m], clusters, config) for m in METRICS}}
        for name in found
        if name not in ("embedder", "chance")
    ]
    result = {
        "base": base.hash,
        "embedder": embedder.name,
        "size": asdict(size),
        "n_tasks": len(report),
        "n_places": len(clusters),
        "n_items": sum(len(task_items) for task_items in _pools(size, "report").values()),
        "ceiling_recall3": float(np.mean([_best_recall3(one) for one in report])),
        "development": tried,
        "chosen": chosen,
        "rows": rows,
        "differences": differences,
        "cpu_ms": _cpu_ms(base, model, embedder, report[: size.n_timed]),
    }
    return {**result, **_judged(result)}


# -- the labelled questions ----------------------------------------------------------------------------------------


def questions(size: Size, split: Split, embedder: Embedder) -> list[Question]:
    """Tasks of a split, each with the embedder's candidates among all items of its domain."""
    pools = _pools(size, split)
    where = _places(size, split)
    tasks = held_out_tasks(where, split, size.tasks_per_place * len(where), 1)
    vectors = {domain: embedder.embed([item.key_text for item in items]) for domain, items in pools.items()}
    asked = embedder.embed([task.text for task in tasks])
    found = []
    for task, vector in zip(tasks, asked, strict=True):
        domain = task.place.world.domain
        order = np.argsort(-np.round(vectors[domain] @ vector, 5), kind="stable")[: size.n_candidates]
        items = [pools[domain][k] for k in order]
        relevant = np.array([item.scope == task.place.scope for item in items])
        found.append(Question(task, items, relevant, len(task.stages)))
    return found


def _places(size: Size, split: Split) -> list[Place]:
    """The report's places, or the development's: none is in both."""
    every = places(SimulationConfig(seed=size.seed, places=2 * size.n_places), 1)
    return every[size.n_places :] if split == "report" else every[: size.n_places]


def _pools(size: Size, split: Split) -> dict[str, list[MemoryItem]]:
    """Domain -> what a memory holds that has seen every place: the right option of each stage that tasks pass."""
    pools: dict[str, list[MemoryItem]] = {}
    for place in _places(size, split):
        stages = place.world.passed(place.rules.n_facts)
        items = [hint(place, stage.tool, place.right_option(stage, 1)) for stage in stages]
        pools.setdefault(place.world.domain, []).extend(items)
    return {domain: sorted(items, key=lambda item: item.item_id) for domain, items in pools.items()}


# -- rankers and metrics -------------------------------------------------------------------------------------------


def bm25(task: str, items: Sequence[MemoryItem], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Okapi BM25 over the candidates: words that a task and an item share, rare ones more."""
    texts = [Counter(_words(f"{item.key_text} {item.content}")) for item in items]
    sizes = [sum(words.values()) for words in texts]
    mean = sum(sizes) / len(sizes)
    scores = [0.0] * len(items)
    for word in _words(task):
        n = sum(word in words for words in texts)
        idf = np.log(1 + (len(items) - n + 0.5) / (n + 0.5))
        for k, words in enumerate(texts):
            f = words[word]
            scores[k] += float(idf) * f * (k1 + 1) / (f + k1 * (1 - b + b * sizes[k] / mean))
    return scores


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _metrics(asked: Sequence[Question], scores: Scores) -> dict[str, NDArray[np.float64]]:
    """Each metric of each question; equal scores keep the embedder's order."""
    rows = []
    for one in asked:
        found = np.round(scores(one.task.text, one.items), 6)
        rows.append(_metrics_of(one.is_relevant[np.argsort(-found, kind="stable")], one.n_relevant))
    return dict(zip(METRICS, np.array(rows, np.float64).T, strict=True))


def _metrics_of(is_relevant: NDArray[np.bool_], n_relevant: int) -> tuple[float, float, float]:
    """Top-1, recall at 3 (of the three that could be there), reciprocal rank of the first relevant one."""
    hits = np.flatnonzero(is_relevant)
    recall = is_relevant[:3].sum() / min(3, n_relevant)
    return float(is_relevant[0]), float(recall), 1 / (1 + hits[0]) if len(hits) else 0.0


def _chance(asked: Sequence[Question]) -> dict[str, NDArray[np.float64]]:
    """The same candidates in a random order."""
    rng = np.random.default_rng(0)
    return _metrics(asked, lambda _, items: rng.random(len(items)).tolist())


def _best_recall3(one: Question) -> float:
    return min(3, int(one.is_relevant.sum())) / min(3, one.n_relevant)


def _n_layers(base: Base) -> int:
    return base.model.config.num_hidden_layers


def _tried(base: Base, layer: int, n_signal: int | None, asked: Sequence[Question]) -> dict[str, Any]:
    found = _metrics(asked, BlockRank(base, PromptConfig(), layer=layer, n_signal=n_signal).scores)
    return {"layer": layer, "n_signal": n_signal, **{name: float(values.mean()) for name, values in found.items()}}


# -- uncertainty and verdict ---------------------------------------------------------------------------------------


def _clusters(asked: Sequence[Question]) -> list[list[int]]:
    """Numbers of the questions of each place."""
    found: dict[str, list[int]] = {}
    for k, one in enumerate(asked):
        found.setdefault(one.task.place.scope, []).append(k)
    return list(found.values())


def _sums(values: NDArray[np.float64], clusters: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    return np.array([values[rows].sum() for rows in clusters]), np.array([float(len(rows)) for rows in clusters])


def _estimate(values: NDArray[np.float64], clusters: Sequence[Sequence[int]], config: EvaluationConfig) -> Estimate:
    n = len(clusters)
    if values.min() == values.max() and values[0] in (0, 1):  # nothing varies, so nothing can be resampled
        low, high = wilson(n if values[0] else 0, n)
        return Estimate(float(values[0]), 0.0, low, high, n)
    return estimate(*_sums(values, clusters), resamples(n, config), config.confidence)


def _difference(
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    clusters: Sequence[Sequence[int]],
    config: EvaluationConfig,
) -> dict[str, Any]:
    draws = resamples(len(clusters), config)
    found = paired_difference(_sums(values, clusters), _sums(reference, clusters), draws, config.confidence)
    return {**asdict(found), "verdict": verdict(found, lower_is_better=False)}


def _judged(result: dict[str, Any]) -> dict[str, Any]:
    """Whether to switch it on, and the claims."""
    difference = next(row for row in result["differences"] if row["ranker"] == "BlockRank, chosen layer")[DECIDES]
    is_better = difference["low"] > 0
    claim = {
        "id": "blockrank-beats-embedder",
        "source": "synde.txt 4.3",
        "claim": "Attention of the query to memory items ranks them better than the embedder",
        "measured": difference["value"],
        "error": [difference["low"], difference["high"]],
        "n": result["n_tasks"],
        "verdict": difference["verdict"],
        "command": COMMAND,
    }
    return {"switch_on": is_better, "claims": [claim]}


def _cpu_ms(base: Base, model: BlockRank, embedder: Embedder, asked: Sequence[Question]) -> dict[str, float]:
    """Median CPU milliseconds a question: the base with items kept, with none kept, and the embedder's own question."""

    def fresh(one: Question) -> None:
        BlockRank(base, PromptConfig(), layer=model.layer, n_signal=model.n_signal).scores(one.task.text, one.items)

    def clocked(act: Callable[[Question], Any]) -> float:
        found = []
        for one in asked:
            started = time.process_time()
            act(one)
            found.append(1000 * (time.process_time() - started))
        return float(np.median(found))

    def kept(one: Question) -> None:
        model.scores(one.task.text, one.items)

    for one in asked:
        kept(one)
    return {
        "items kept": clocked(kept),
        "items read anew": clocked(fresh),
        "embedder, question": clocked(lambda one: embedder.embed([one.task.text])),
    }


def table(found: dict[str, Any]) -> str:
    """One line a ranker, and what was decided."""
    lines = [f"{'ranker':<26} {'  '.join(f'{m:<22}' for m in METRICS)}"]
    for row in found["rows"]:
        cells = (f"{row[m]['value']:.3f} [{row[m]['low']:.3f}, {row[m]['high']:.3f}]" for m in METRICS)
        lines.append(f"{row['ranker']:<26} {'  '.join(f'{cell:<22}' for cell in cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    with one_thread():
        everything = run()
    sys.stdout.write(json.dumps(everything) + "\n" + table(everything) + "\n")
