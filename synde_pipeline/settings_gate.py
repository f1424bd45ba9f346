"""The knobs of the gate: how much evidence a model needs before it is served.

They decide what is promoted and change nothing of what is learned.
"""

from pathlib import Path

from pydantic import Field

from synde_pipeline.settings_slow import Config


class GateConfig(Config):
    """Candidate against champion on `gate` tasks (design.md law 11); the rule is in `evaluation.gate_rule`."""

    level: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of calling a candidate better that is not: over all cycles of a domain, the share of false ones among all
    called better (`evaluation.wealth`). Also the level of each proof that nothing got worse by a margin."""
    first_share: float = Field(default=0.5, gt=0, lt=1)
    """Part of the level that may be spent before the first promotion; the rest is earned by it."""
    decay: float = Field(default=1.6, gt=1)
    """Spending falls as age ** -decay. 1.6 had the best power at cycle 10 after seven idle cycles (DECISIONS.md)."""
    margin: float = Field(default=0.02, gt=0)
    """What a candidate that is not shown better may lose as it is served, and be promoted all the same: share of tasks
    solved, or nats per action token."""
    served_margin: float = Field(default=0.05, gt=0)
    """What may be lost as served where weights alone are shown better, and at most of tool top-1: with memory at the
    ceiling, a loss of .02 takes 600 tasks to exclude, one of .05 about 150."""
    retention_margin: float = Field(default=0.05, gt=0)
    """What may be lost of what was known before the cycle, with weights alone and as served."""
    n_min: int = Field(default=30, ge=2)
    """Gate tasks below which a candidate that is not shown better is never promoted."""
    probe_texts: int = Field(default=48, ge=2)
    """Texts of the base's own data on which forgetting is measured."""
    base_margin: float = Field(default=0.1, gt=0)
    """Nats per token that may be lost on the base's own data, against the champion."""
    max_kl: float = Field(default=0.25, gt=0)
    """KL(base || adapter) in nats per token on the base's own data, at most."""
    canaries: Path | None = None
    """JSON lines with secrets that were planted in logs (`evaluation.canaries`); None where none were."""
    canary_bits: float = Field(default=8.0, gt=0, le=9)
    """Exposure (Carlini et al. 2019) from which a canary counts as leaked: likelier than all but 1 in 2**bits random
    secrets of its shape; 1 in 256 does so by chance."""
