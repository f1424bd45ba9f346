"""Trying again: failures that may pass are met with growing, random pauses."""

import random
from collections.abc import Callable
from typing import TypeVar

from synde_pipeline.llm.endpoint import Failure
from synde_pipeline.settings import LlmConfig

T = TypeVar("T")

_LONGEST_PAUSE_S = 60.0


def insist(
    attempt: Callable[[], T | Failure], config: LlmConfig, stops: Callable[[float], bool]
) -> tuple[T | Failure, int]:
    """Try until it works, or until trying again is no use; also says how often it was tried.

    Args:
        attempt: one try.
        config: how many tries, and the first pause.
        stops: waits so many seconds, and says whether something else has ended the work meanwhile.
    """
    n = 0
    while True:
        n += 1
        found = attempt()
        if not isinstance(found, Failure):
            return found, n
        pause = _pause(found, n, config)
        if not found.may_pass or n == config.attempts or pause > _LONGEST_PAUSE_S or stops(pause):
            return found, n


def _pause(failure: Failure, n: int, config: LlmConfig) -> float:
    """Seconds until the next try: as long as the server asks, else doubling, with half of it left to chance."""
    if failure.wait_s is not None:
        return failure.wait_s
    longest = min(config.pause_s * 2 ** (n - 1), _LONGEST_PAUSE_S)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads tries, hides nothing
