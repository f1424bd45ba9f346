"""Ways to keep what a model has learned while it learns something else: what each of them measures, draws and forbids.

Which of them keeps how much is measured in `forgetting`. Penalties and projections themselves are in `training`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.null_space import Moments, Projection, leak_penalty, merge, moments_of
from synde_pipeline.training.regularize import Fisher, accumulated, ewc, fisher_of, l2_penalty
from synde_pipeline.training.replay import draw_old
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import TrainingRun

N_MEASURED = 96
"""Sequences of a domain, evenly over all of them, from which moments and Fisher are taken."""

Guard = Literal["none", "kfac", "diagonal", "l2", "null space", "leak"]


@dataclass(frozen=True)
class Method:
    """One way to keep what was learned."""

    guard: Guard = "none"
    strength: float = 0.0
    old: float = 0.0
    """Share of old logs in training."""
    base: float = 0.0
    """Share of the base's own data in training."""


METHODS = {
    "nothing": Method(),
    "old logs 20 %": Method(old=0.2),
    "old logs 60 %": Method(old=0.6),
    "base's data 20 %": Method(base=0.2),
    "EWC, diagonal": Method("diagonal", 1e-2),
    "EWC, K-FAC": Method("kfac", 1e-2),
    "L2 on delta W": Method("l2", 1e-3),
    "null space": Method("null space"),
    "leak penalty": Method("leak", 1e-2),
    "old logs 20 % and EWC, K-FAC": Method("kfac", 1e-2, old=0.2),
}
"""Strengths are those that were best on gate tasks of seed 7 (DECISIONS.md, 2026-11-25): nothing is chosen here."""


@dataclass
class Past:
    """What was learned so far has left behind."""

    rows: dict[str, list[ShardRow]] = field(default_factory=dict)
    moments: Moments | None = None
    fisher: Fisher | None = None

    def learn(self, model: Any, domain: str, rows: list[ShardRow], method: Method) -> None:
        """Measure under the merged weights what the method needs of a domain that was just learned."""
        self.rows[domain] = rows
        rows = rows[:: max(1, len(rows) // N_MEASURED)][:N_MEASURED]
        if method.guard in ("null space", "leak"):
            new = moments_of(model, rows, pad_id=0)
            self.moments = merge([self.moments, new]) if self.moments else new
        elif method.guard in ("kfac", "diagonal"):
            found = fisher_of(model, rows, method.guard, pad_id=0)
            self.fisher = accumulated(self.fisher, found) if self.fisher else found

    def guarded(self, model: Any, method: Method) -> TrainingRun:
        """The method's penalty or projection; nothing as long as nothing was learned."""
        if not self.rows:
            return TrainingRun()
        if self.fisher:
            return TrainingRun(penalty=ewc(self.fisher, method.strength))
        if self.moments and method.guard == "leak":
            return TrainingRun(penalty=leak_penalty(self.moments, method.strength))
        if self.moments:
            return TrainingRun(after_step=Projection.of(self.moments).after_step)
        if method.guard == "l2":
            return TrainingRun(penalty=l2_penalty(mlp_targets(model), method.strength))
        return TrainingRun()

    def drawn(self, new: Sequence[ShardRow], share: float, seed: str) -> list[ShardRow]:
        """Sequences of old trajectories, so many that they are a share of old and new."""
        by_uid: dict[str, list[ShardRow]] = {}
        for rows in self.rows.values():
            for row in rows:
                by_uid.setdefault(row["trace_uid"], []).append(row)
        owner = {row["trace_uid"]: domain for domain, rows in self.rows.items() for row in rows}
        n_new = len({row["trace_uid"] for row in new})
        uids = draw_old(owner, n_new, TrainingConfig(old_logs=share), seed)
        return [row for uid in uids for row in by_uid[uid]]
