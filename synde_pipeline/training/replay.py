"""Which old trajectories are mixed into a new cycle, against forgetting (synde.txt 8.3).

The base's own data is in `base_replay`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from synde_pipeline.settings import TrainingConfig

_OWN_SHARE = {"sequential": 0.6, "independent": 0.2, "joint": 1.0, "null_space": 0.0}
"""Share of old logs in a shard, by composition; `routed` has a rule of its own (`groups`). Sequential: 50 to 67 % is
where the best merged models were (simulation notes 11 A4); independent: the paper's; joint: everything, always."""


def old_share(config: TrainingConfig) -> float:
    """Share of old trajectories in a shard, 1 for all there are."""
    return _OWN_SHARE.get(config.composition, 0.0) if config.old_logs is None else config.old_logs


def draw_old(earlier: Mapping[str, str], n_new: int, config: TrainingConfig, seed: str) -> list[str]:
    """Draw trajectories of earlier cycles so that they make up the config's share of old + new.

    A reservoir without state: ids are ordered by a hash of (seed, id), so an id that is removed changes no other's
    place. Domains take turns, so that one with many logs does not crowd out another.

    Args:
        earlier: uid -> domain of the trajectories that may be drawn.
        n_new: trajectories that this cycle claims.
        config: its composition and, perhaps, share.
        seed: the cycle's key.
    """
    share = old_share(config)
    if share >= 1:
        return sorted(earlier)
    ordered = sorted(earlier, key=lambda uid: hashlib.sha256(f"{seed}:{uid}".encode()).hexdigest())
    n_before: dict[str, int] = defaultdict(int)
    turns = []
    for uid in ordered:
        turns.append((n_before[earlier[uid]], len(turns), uid))
        n_before[earlier[uid]] += 1
    return sorted(uid for _, _, uid in sorted(turns)[: round(n_new * share / (1 - share))])
