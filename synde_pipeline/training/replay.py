"""Which old trajectories are mixed into a new cycle (synde.txt 8.3: 20 % replay against forgetting)."""

import hashlib
from collections.abc import Sequence


def replay_sample(earlier: Sequence[str], n_new: int, fraction: float, seed: str) -> list[str]:
    """Draw trajectories of earlier cycles so that they make up `fraction` of the whole.

    The draw orders ids by a hash of (seed, id): it needs no state, and an id that is removed changes no other's rank.

    Args:
        earlier: uids of trajectories that earlier cycles claimed.
        n_new: trajectories that this cycle claims.
        fraction: share of replay in new + replay.
        seed: the cycle's key.
    """
    wanted = round(n_new * fraction / (1 - fraction))
    ranked = sorted(set(earlier), key=lambda uid: hashlib.sha256(f"{seed}:{uid}".encode()).hexdigest())
    return sorted(ranked[:wanted])
