"""How much level a comparison may use: spent over the cycles of a domain, and earned back by promotions.

LORD++ (Ramdas, Yang, Wainwright and Jordan 2017): of the comparisons that call a candidate better, a share of at most
`level` is wrong in expectation, over however many cycles; a fixed budget would leave nothing for the tenth.
"""

from functools import lru_cache

from synde_pipeline.models.registry import Champion, domain_of
from synde_pipeline.settings_gate import GateConfig

IMPROVEMENT, NON_INFERIOR, NOTHING = "improvement", "non-inferiority", "nothing shown"
"""What evidence showed: the candidate is better; it is not worse by a margin; neither."""


def level_now(known: Champion, domain: str, config: GateConfig) -> float:
    """Level of a domain's next comparison, after the decisions that the champion records."""
    tested = [item for item in known.history if domain_of(item.cycle) == domain and item.by == "gate" and item.basis]
    hits = [k for k, item in enumerate(tested, 1) if item.accepted and item.basis == IMPROVEMENT]
    return level_at(len(tested) + 1, hits, config)


def level_at(number: int, hits: list[int], config: GateConfig) -> float:
    """Level of comparison `number` (from 1), where comparisons `hits` called their candidates better."""
    first = config.first_share * config.level
    found = first * _share(number, config.decay)
    for k, hit in enumerate(hits):
        earned = config.level - first if k == 0 else config.level
        found += earned * _share(number - hit, config.decay)
    return found


def _share(age: int, decay: float) -> float:
    """Age ** -decay over its sum for all ages."""
    return age**-decay / _total(decay)


@lru_cache(maxsize=8)
def _total(decay: float, n: int = 10_000) -> float:
    return sum(k**-decay for k in range(1, n)) + n ** (1 - decay) / (decay - 1)
