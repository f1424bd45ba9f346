"""Labelled questions to a memory of the embedded worlds, the rankers that answer them, and how well they do.

Memory holds one item a place and tool: the right option of every stage that tasks pass. A task is asked by its text
alone, as where its place is not told; the items of its own place are the relevant ones. All rankers reorder the same
candidates, the embedder's first ones of the domain.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.blockrank import N_CANDIDATES
from synde_pipeline.memory.embed import Embedder
from synde_pipeline.records import MemoryItem, Split
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.gates import hint
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.simulation.worlds.base import Place, Task

Wording = Literal["as asked", "place first"]
WORDINGS: tuple[Wording, ...] = ("as asked", "place first")
METRICS = ("top1", "recall3", "mrr")
"""The first item is relevant; share of three places that hold a relevant one; 1 / rank of the first relevant one."""

Scores = Callable[[str, Sequence[MemoryItem]], Sequence[float]]
"""A task's text and its candidates -> a score for each."""
Values = dict[str, NDArray[np.float64]]
"""Metric -> its value for each question."""


@dataclass(frozen=True)
class Question:
    """One task in one wording, the items that the embedder found for it, and which of them are about its place."""

    task: Task
    text: str
    items: list[MemoryItem]
    """Nearest first."""
    is_relevant: NDArray[np.bool_]

    @property
    def place(self) -> str:
        """Its place: the questions of one place are no independent units."""
        return f"{self.task.place.seed} {self.task.place.scope}"


@dataclass(frozen=True)
class Size:
    """How much of a world is asked about."""

    n_places: int
    """For the report, and as many others for choosing; half of them sites."""
    tasks_per_place: int = 2
    n_candidates: int = N_CANDIDATES


def questions(size: Size, seed: int, split: Split, embedder: Embedder, wording: Wording = "as asked") -> list[Question]:
    """Tasks of a split of one seed, each with the embedder's candidates among all items of its domain."""
    where = _places(size, seed, split)
    pools = _pools(where)
    tasks = held_out_tasks(where, split, size.tasks_per_place * len(where), 1)
    vectors = {domain: embedder.embed([item.key_text for item in items]) for domain, items in pools.items()}
    texts = [task.text if wording == "as asked" else _place_first(task.text) for task in tasks]
    found = []
    for task, text, vector in zip(tasks, texts, embedder.embed(texts), strict=True):
        domain = task.place.world.domain
        order = np.argsort(-np.round(vectors[domain] @ vector, 5), kind="stable")[: size.n_candidates]
        items = [pools[domain][k] for k in order]
        found.append(Question(task, text, items, np.array([item.scope == task.place.scope for item in items])))
    return found


def _place_first(text: str) -> str:
    """`on zormek price of lamp` for `price of lamp on zormek`."""
    what, preposition, name = text.rsplit(" ", 2)
    return f"{preposition} {name} {what}"


def _places(size: Size, seed: int, split: Split) -> list[Place]:
    """The places of the report, or those for choosing: none is in both."""
    every = places(SimulationConfig(seed=seed, places=2 * size.n_places), 1)
    return every[size.n_places :] if split == "report" else every[: size.n_places]


def _pools(where: Sequence[Place]) -> dict[str, list[MemoryItem]]:
    """Domain -> what a memory holds that has seen every place."""
    pools: dict[str, list[MemoryItem]] = {}
    for place in where:
        stages = place.world.passed(place.rules.n_facts)
        items = [hint(place, stage.tool, place.right_option(stage, 1)) for stage in stages]
        pools.setdefault(place.world.domain, []).extend(items)
    return {domain: sorted(items, key=lambda item: item.item_id) for domain, items in pools.items()}


# -- rankers -------------------------------------------------------------------------------------------------------


def as_found(task: str, items: Sequence[MemoryItem]) -> list[float]:
    """The embedder's own order."""
    return [-float(k) for k in range(len(items))]


def by_chance(task: str, items: Sequence[MemoryItem]) -> list[float]:
    """A random order, the same for equal candidates."""
    return np.random.default_rng(list("".join(item.item_id for item in items).encode())).random(len(items)).tolist()


def bm25(task: str, items: Sequence[MemoryItem], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Okapi BM25 over the candidates: words that a task and an item share, rare ones more."""
    texts = [Counter(_words(f"{item.key_text} {item.content}")) for item in items]
    sizes = [sum(words.values()) for words in texts]
    mean = sum(sizes) / len(sizes)
    scores = [0.0] * len(items)
    for word in _words(task):
        n = sum(word in words for words in texts)
        idf = float(np.log(1 + (len(items) - n + 0.5) / (n + 0.5)))
        for k, words in enumerate(texts):
            scores[k] += idf * words[word] * (k1 + 1) / (words[word] + k1 * (1 - b + b * sizes[k] / mean))
    return scores


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def embedder_per_title(embedder: Embedder) -> Scores:
    """The embedder with the help that BlockRank has: asked once for each title among the items, mean similarity."""
    keys: dict[str, NDArray[np.float32]] = {}

    def scores(task: str, items: Sequence[MemoryItem]) -> list[float]:
        new = sorted({item.key_text for item in items} - keys.keys())
        keys.update(zip(new, embedder.embed(new), strict=True))
        titles = sorted({item.title for item in items})
        asked = embedder.embed([f"{task} {title}" for title in titles])
        return (np.stack([keys[item.key_text] for item in items]) @ asked.T).mean(1).tolist()

    return scores


# -- metrics -------------------------------------------------------------------------------------------------------


def measure(asked: Sequence[Question], scores: Scores) -> Values:
    """Each metric of each question; equal scores keep the embedder's order."""
    rows = []
    for one in asked:
        found = np.round(scores(one.text, one.items), 6)
        rows.append(_metrics(one.is_relevant[np.argsort(-found, kind="stable")], len(one.task.stages)))
    return dict(zip(METRICS, np.array(rows, np.float64).T, strict=True))


def _metrics(is_relevant: NDArray[np.bool_], n_relevant: int) -> tuple[float, float, float]:
    """Metrics of one order; `n_relevant` counts the whole memory's relevant items."""
    hits = np.flatnonzero(is_relevant)
    recall = is_relevant[:3].sum() / min(3, n_relevant)
    return float(is_relevant[0]), float(recall), 1 / (1 + hits[0]) if len(hits) else 0.0


def best_recall3(asked: Sequence[Question]) -> float:
    """What a perfect order of the candidates would reach."""
    return float(np.mean([_metrics(np.sort(one.is_relevant)[::-1], len(one.task.stages))[1] for one in asked]))
