"""Which layer answers a task (synde.txt section 8.4).

Weights where its pattern is known, memory where it is novel, both between, and memory alone where newer evidence
contradicts what the adapter learned. Which adapter it would be is in `route`; what memory says, in `memory.retrieve`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, NamedTuple

import numpy as np

from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.memory.select import Answer
from synde_pipeline.models.keys import DomainKeys
from synde_pipeline.models.route import Asked, Route
from synde_pipeline.training.bank import NONE

Layers = Literal["none", "context", "weights", "dual"]
Policy = Literal["router", "none", "context", "weights", "dual"]


class Limits(NamedTuple):
    """How near a task has to be to what the adapters of its domain were trained on; cosines.

    Without a fit everything is between: a task that has an adapter and memory gets both.
    """

    known: float | None = None
    """From here on weights alone are as good as both; None: nowhere is that shown."""
    novel: float | None = None
    """Below it memory alone is as good as both; None: nowhere is that shown."""


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on."""

    route: Route
    familiarity: float | None
    """Cosine of the task with the nearest scope that its domain's adapters were trained on; None without adapters."""
    memory: Answer
    outdated: tuple[str, ...] = ()
    """Ids of shown items whose text has become another one since the adapter was trained."""

    @property
    def has_adapter(self) -> bool:
        """Whether there is an adapter for the task."""
        return self.route.index != NONE


class Decision(NamedTuple):
    """Which layers answer, and why."""

    layers: Layers
    reason: str


def decide(evidence: Evidence, limits: Limits) -> Decision:
    """Decide for one task."""
    has_memory = bool(evidence.memory.shown)
    if not evidence.has_adapter:
        why = {"too far": "no adapter was trained near enough"}.get(evidence.route.reason, "no adapter for its place")
        return Decision("context" if has_memory else "none", f"novel: {why}")
    if not has_memory:
        return Decision("weights", "memory says nothing of it")
    if evidence.outdated:
        n = len(evidence.outdated)
        return Decision("context", f"conflicting: {n} shown items were changed since the adapter was trained")
    score = evidence.familiarity
    if score is not None and limits.known is not None and score >= limits.known:
        return Decision("weights", f"known: {score:.2f} is at least {limits.known:.2f}")
    if score is not None and limits.novel is not None and score < limits.novel:
        return Decision("context", f"novel: {score:.2f} is less than {limits.novel:.2f}")
    return Decision("dual", "between known and novel")


def forced(policy: Layers, evidence: Evidence) -> Decision:
    """Always the same layers, as far as there is something in them."""
    has_weights = policy in ("weights", "dual") and evidence.has_adapter
    has_memory = policy in ("context", "dual") and bool(evidence.memory.shown)
    layers: Layers = "none"
    if has_weights or has_memory:
        layers = "dual" if has_weights and has_memory else "weights" if has_weights else "context"
    return Decision(layers, f"always {policy}")


@dataclass(frozen=True)
class Decider:
    """Decides for the tasks of one version of the champion."""

    keys: Mapping[str, DomainKeys]
    """Domain -> what its adapters were trained on."""
    trained: Mapping[str, date]
    """Cycle -> the last day that its adapters know."""
    limits: Mapping[str, Limits] = field(default_factory=dict)

    def evidence(self, query: Query, routed: tuple[Route, str], memory: Memory, answer: Answer) -> Evidence:
        """Gather what a decision rests on.

        Args:
            query: what memory was asked.
            routed: which adapter it would be, and the cycle that it is of.
            memory: that was asked.
            answer: what it said.
        """
        route, cycle = routed
        familiarity = self.familiarities([Asked(query.domain, query.scope, query.task)])[0]
        return Evidence(route, familiarity, answer, self.outdated(query, cycle, memory, answer))

    def outdated(self, query: Query, cycle: str, memory: Memory, answer: Answer) -> tuple[str, ...]:
        """Ids of items at the task's place that said something else when a cycle's adapters were trained."""
        then, items = self.trained.get(cycle), [item for item in answer.items if item.place]
        if then is None or not items or then >= query.as_of:
            return ()
        before = {item.item_id: item.version for item in memory.bank(then, without_task=query.without_task).items}
        return tuple(item.item_id for item in items if before.get(item.item_id, item.version) != item.version)

    def familiarities(self, asked: Sequence[Asked]) -> list[float | None]:
        """Cosine of each task with the nearest scope of its domain."""
        found: list[float | None] = [None] * len(asked)
        for domain, keys in self.keys.items():
            mine = [k for k, task in enumerate(asked) if task.domain == domain and task.text]
            if mine:
                vectors = get_embedder(keys.embedder).embed([asked[k].text for k in mine])
                for k, (_, score) in zip(mine, keys.nearest(np.asarray(vectors, np.float32)), strict=True):
                    found[k] = score
        return found

    def decide(self, domain: str, evidence: Evidence, policy: Policy = "router") -> Decision:
        """Decide for a task of a domain."""
        if policy != "router":
            return forced(policy, evidence)
        return decide(evidence, self.limits.get(domain, Limits()))
