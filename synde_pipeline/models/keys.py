"""Routing keys: vectors of the tasks that an adapter was trained on, and what they say about telling scopes apart.

How tasks are routed by them is in `route`; the tables that name them lie in a bank (`bank`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.shards import ShardRow

FILE = "keys.safetensors"
MOST_VECTORS = 32
"""Of one adapter: as many bytes as a rank-1 adapter of a small model."""
MOST_TASKS = 2048
"""Tasks that a calibration scores, evenly drawn: more would say nothing new about one threshold."""

Vectors = NDArray[np.float32]
"""Unit vectors, (n, 384)."""


@dataclass(frozen=True)
class Key:
    """Tasks of one adapter."""

    embedder: str
    scopes: tuple[str, ...]
    """Of each vector."""
    vectors: Vectors

    def only(self, scopes: Sequence[str]) -> "Key":
        """What is left where a newer adapter took over the other scopes."""
        kept = [k for k, scope in enumerate(self.scopes) if scope in scopes]
        return Key(self.embedder, tuple(self.scopes[k] for k in kept), self.vectors[kept])


def key_of(texts: Mapping[str, set[str]], embedder: str) -> Key:
    """The key of an adapter: different tasks of each of its scopes, scope by scope in turn.

    Args:
        texts: scope -> texts of tasks that the adapter was trained on.
        embedder: name of the embedder.
    """
    drawn = []
    for scope, found in texts.items():
        # By a hash, not by name: words with which texts begin must not decide.
        for turn, text in enumerate(sorted(found, key=lambda text: content_hash([text]))):
            drawn.append((turn, content_hash([scope]), scope, text))
    chosen = sorted((scope, text) for _, _, scope, text in sorted(drawn)[:MOST_VECTORS])
    vectors = get_embedder(embedder).embed([text for _, text in chosen])
    return Key(embedder, tuple(scope for scope, _ in chosen), vectors)


def keys_of_groups(
    warehouse: Warehouse, cycle: Cycle, groups: Mapping[str, Iterable[ShardRow]], embedder: str | None
) -> dict[str, Key]:
    """The key of each group of a cycle: the tasks of its own sequences, as the agent saw them.

    Sequences written from memory have no task of the agent's: the claimed tasks of their scope stand for them.

    Args:
        warehouse: with the domain's claims.
        cycle: that trains them.
        groups: folder of a group -> its sequences, new and old.
        embedder: name of the embedder; None makes no keys.
    """
    if embedder is None:
        return {}
    texts: dict[str, str] = {}
    of_scope: dict[str, set[str]] = defaultdict(set)
    for before in cycles(warehouse):
        if before.domain == cycle.domain and before.number <= cycle.number:
            for example in claimed_examples(warehouse, before.key):
                meta, task = example["metadata"], example["context"]["task"]
                texts[meta["trajectory_id"]] = task
                of_scope[meta["scope"]].add(task)
    keys = {}
    for folder, rows in groups.items():
        by_scope: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            uid, scope = row["trace_uid"], row["scope"]
            by_scope[scope] |= {texts[uid]} if uid in texts else of_scope[scope]
        keys[folder] = key_of(by_scope, embedder)
    return keys


def describe(key: Key | None) -> dict[str, Any]:
    """What a table says of a key's vectors."""
    return {} if key is None else {"embedder": key.embedder, "vectors": list(key.scopes)}


def write_keys(folder: Path, keys: Mapping[str, Key]) -> None:
    """Write the vectors of a cycle's keys, half precision: folder of the adapter -> key."""
    from safetensors.numpy import save_file

    if keys:
        save_file({name: key.vectors.astype(np.float16) for name, key in keys.items()}, folder / FILE)


def read_keys(folder: Path, table: Sequence[Mapping[str, Any]]) -> dict[str, Key]:
    """Read the keys that a cycle's table names; adapters of older versions have none."""
    named = {line["folder"]: line["key"] for line in table if "vectors" in line["key"]}
    if not named:
        return {}
    from safetensors.numpy import load_file

    vectors = load_file(folder / FILE)
    return {
        name: Key(key["embedder"], tuple(key["vectors"]), vectors[name].astype(np.float32))
        for name, key in named.items()
    }


# -- what the keys of a domain can tell apart -----------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """How near tasks come to the keys of others: those of their own scope, and, had it never been learned, the rest."""

    home: tuple[float, ...]
    """Cosine of each task with the nearest scope, its own made without it (leave one task out)."""
    is_right: tuple[bool, ...]
    """Whether that one is of the same adapter."""
    foreign: tuple[float, ...]
    """Cosine of each task with the nearest other scope (leave its scope out)."""
    scopes: tuple[int, ...]
    """Number of the scope of each foreign task."""

    def threshold(self, error: float) -> float | None:
        """Score that a task of a new scope passes with probability `error` at most; None where nobody could say so.

        Hierarchical conformal prediction: tasks of a scope are alike, so the scopes are what is exchangeable. Of m
        left-out scopes and a new one each counts 1 / (m + 1), shared out among its tasks, and the new one's tasks are
        taken to pass: m below 1 / error - 1 scopes promise nothing.
        """
        scopes, number, sizes = np.unique(np.array(self.scopes, int), return_inverse=True, return_counts=True)
        allowed = error * (len(scopes) + 1) - 1 + 1e-9
        if not len(scopes) or allowed < 0:
            return None
        scores = np.array(self.foreign)
        order = np.argsort(-scores, kind="stable")
        weights = 1 / sizes[number[order]]
        passing = np.cumsum(weights) - weights  # of the scores before each; at the first of equals, those above it
        return float(scores[order][np.flatnonzero(passing <= allowed)[-1]])

    def rates(self, error: float) -> dict[str, Any]:
        """The threshold and what it did to the tasks that it was made from, as shares of them."""
        threshold = self.threshold(error)
        n = len(self.home)
        bar = np.inf if threshold is None else threshold
        home, right = np.array(self.home), np.array(self.is_right, bool)
        return {
            "error": error,
            "threshold": threshold,
            "false_accept": _share(np.array(self.foreign) > bar),
            "home_recall": _share((home > bar) & right),
            "wrong_adapter": _share((home > bar) & ~right),
            "n_home": n,
            "n_foreign": len(self.foreign),
            "n_scopes": len(set(self.scopes)),
        }


def _share(flags: NDArray[np.bool_]) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


@dataclass(frozen=True)
class DomainKeys:
    """All keys of a domain that one embedder made, stacked. A task is as near to a scope as to its tasks' mean.

    Of what was tried, only means of scopes tell places apart: the nearest single task says more of what is asked for
    than of where (DECISIONS.md).
    """

    embedder: str
    vectors: Vectors
    scope_of: NDArray[np.int64]
    """Index of the scope of each vector."""
    owners: NDArray[np.int64]
    """Index of the adapter of each scope."""

    @classmethod
    def of(cls, keys: Mapping[int, Key]) -> "DomainKeys | None":
        """Stack the keys of adapters, oldest first; vectors of another embedder than the newest key's are left out."""
        if not keys:
            return None
        embedder = keys[max(keys)].embedder
        mine = {index: key for index, key in keys.items() if key.embedder == embedder and len(key.vectors)}
        if not mine:
            return None
        owners = {scope: index for index, key in mine.items() for scope in key.scopes}
        numbers = {scope: k for k, scope in enumerate(owners)}
        return cls(
            embedder,
            np.concatenate([key.vectors for key in mine.values()]),
            np.array([numbers[scope] for key in mine.values() for scope in key.scopes]),
            np.array(list(owners.values())),
        )

    @cached_property
    def _sums(self) -> Vectors:
        sums = np.zeros((len(self.owners), self.vectors.shape[1]), np.float32)
        np.add.at(sums, self.scope_of, self.vectors)
        return sums

    @cached_property
    def means(self) -> Vectors:
        """Unit vector of each scope, (scopes, 384)."""
        return _unit(self._sums)

    def nearest(self, vectors: Vectors) -> list[tuple[int, float]]:
        """Adapter of the nearest scope of each vector, and its cosine."""
        scores = _rounded(vectors @ self.means.T)
        best = scores.argmax(1)
        return [(int(self.owners[at]), float(row[at])) for row, at in zip(scores, best, strict=True)]

    def evidence(self) -> Evidence:
        """Score the keys' own tasks."""
        n = len(self.vectors)
        counts = np.bincount(self.scope_of)
        home, right, foreign, scopes = [], [], [], []
        for at in np.unique(np.linspace(0, n - 1, min(n, MOST_TASKS)).round().astype(int)):
            mine, vector = self.scope_of[at], self.vectors[at]
            scores = _rounded(self.means @ vector)
            scores[mine] = -np.inf
            if len(scores) > 1:
                foreign.append(float(scores.max()))
                scopes.append(int(mine))
            if counts[mine] > 1:
                scores[mine] = _rounded(_unit(self._sums[mine] - vector) @ vector)
                home.append(float(scores.max()))
                right.append(bool(self.owners[scores.argmax()] == self.owners[mine]))
        return Evidence(tuple(home), tuple(right), tuple(foreign), tuple(scopes))


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _rounded(scores: Any) -> NDArray[np.float64]:
    """Independent of the last bits, which batch shape and machine may change."""
    return np.round(np.asarray(scores, np.float64), 4)
