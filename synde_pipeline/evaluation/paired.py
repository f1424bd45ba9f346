"""Paired one-sided tests of a candidate against the champion on the same units: is it better, is it not worse by much.

Pure arithmetic on per-unit gains. Intervals for pages are in `stats`; how much level a comparison may use, in `wealth`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GAMMA = 1e-3
"""Chance that the true share of differing pairs lies outside the interval searched (Berger and Boos 1994)."""
_GRID = 12
_ENUMERATED = 12
"""Clusters up to which all sign flips are tried; beyond, `_FLIPS` of them are drawn."""
_FLIPS = 4095


@dataclass(frozen=True)
class Pairs:
    """What two models did on the same units (tasks, or texts)."""

    gain: Floats
    """(units,), candidate minus champion, positive is better: solved or not, or nats summed over the unit."""
    size: Floats
    """(units,), what the gain is summed over: 1 for a task that is solved or not, else tokens or steps."""
    cluster: tuple[str, ...]
    """(units,): units of one cluster are not independent of each other (a place; a task)."""

    @classmethod
    def of(cls, gain: Sequence[float], size: Sequence[float], cluster: Sequence[str]) -> "Pairs":
        """From plain numbers.

        Raises:
            ValueError: lengths differ.
        """
        if not len(gain) == len(size) == len(cluster):
            raise ValueError(f"{len(gain)} gains, {len(size)} sizes and {len(cluster)} clusters")
        return cls(np.array(gain, np.float64), np.array(size, np.float64), tuple(cluster))

    @property
    def n(self) -> int:
        """Units."""
        return len(self.gain)

    @property
    def n_clusters(self) -> int:
        """Independent groups of units."""
        return len(set(self.cluster))

    @property
    def value(self) -> float:
        """Mean gain: sum of gains over sum of sizes; NaN where there is nothing."""
        total = float(self.size.sum())
        return float(self.gain.sum()) / total if total > 0 else math.nan

    def within(self, clusters: set[str]) -> "Pairs":
        """The units of some clusters alone."""
        kept = np.array([name in clusters for name in self.cluster], bool)
        return Pairs(self.gain[kept], self.size[kept], tuple(name for name in self.cluster if name in clusters))

    def by_cluster(self) -> tuple[Floats, Floats]:
        """Gains and sizes summed over each cluster, (clusters,) each, in the order of names."""
        _, index = np.unique(np.array(self.cluster, dtype=str), return_inverse=True)
        sums = [np.bincount(index, values).astype(np.float64) for values in (self.gain, self.size)]
        return sums[0], sums[1]

    def excess(self, margin: float) -> Floats:
        """Sum of gain + margin * size in each cluster, (clusters,): positive where not worse by the margin."""
        gains, sizes = self.by_cluster()
        return gains + margin * sizes

    @property
    def is_binary(self) -> bool:
        """Whether units are solved or not."""
        return bool(np.all(self.size == 1) and np.all(np.isin(self.gain, (-1, 0, 1))))


def p_value(pairs: Pairs, margin: float = 0.0) -> float:
    """One-sided p of the hypothesis that the candidate is worse by `margin` or more; margin 0: that it is not better.

    The larger one of two tests, each of which is right where the other is not (measured: DECISIONS.md):

    * Student's t on cluster sums with clusters - 1 degrees of freedom (Ibragimov and Mueller 2010: holds its level for
      one-sided levels up to .04 with few and unequal clusters), for what differs between places;
    * an exact test on units, for rare differences, where a t of few clusters is far too sure: McNemar's for tasks that
      are solved or not, with a margin the unconditional one over a confidence interval of the nuisance (Berger and Boos
      1994); for measured gains, sign flips of clusters.

    Fewer than two clusters, or a number that is not finite: 1, nothing is shown.
    """
    if pairs.n_clusters < 2 or not np.all(np.isfinite(pairs.gain)) or not np.all(np.isfinite(pairs.size)):
        return 1.0
    if not math.isfinite(margin) or pairs.size.sum() <= 0:
        return 1.0
    excess = pairs.excess(margin)
    of_units = _exact(pairs, margin) if pairs.is_binary else _sign_flips(excess)
    return min(1.0, max(_t_of(excess), of_units))


def lower_bound(pairs: Pairs, level: float) -> float:
    """Largest loss that is still excluded: p_value(pairs, -bound) <= level; -inf where nothing is.

    Found by bisection to 1e-4, so that a report can say how far from a margin the evidence is.
    """
    scale = 1.0 if pairs.is_binary else float(np.abs(pairs.gain).sum() / max(pairs.size.sum(), 1e-12)) * 10
    low, high = -scale, pairs.value
    if not math.isfinite(high) or p_value(pairs, -low) > level:
        return -math.inf
    while high - low > 1e-4 * max(scale, 1e-9):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(pairs, -middle) <= level else (low, middle)
    return low


# -- clusters ---------------------------------------------------------------------------------------------------------


def _t_of(excess: Floats) -> float:
    """P of Student's t that the mean of cluster sums is above zero."""
    n, mean = len(excess), float(excess.mean())
    spread = float(excess.std(ddof=1)) / math.sqrt(n)
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return 0.0 if mean > 0 else 1.0
    return t_tail(mean / spread, n - 1)


def t_tail(t: float, df: int) -> float:
    """P(T >= t) of Student's t, exactly for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(abs(t), math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    if df == 1:
        inside = 2 * angle / math.pi
    else:
        term = 1.0 if df % 2 == 0 else cosine
        total = term
        for k in range(2, df - 1, 2):
            # Even df: 1/2, 3/4, ...; odd df: 2/3, 4/5, ...
            term *= cosine**2 * (k - 1 + df % 2) / (k + df % 2)
            total += term
        inside = sine * total if df % 2 == 0 else 2 / math.pi * (angle + sine * total)
    tail = (1 - inside) / 2
    return tail if t >= 0 else 1 - tail


def _sign_flips(excess: Floats) -> float:
    """P that the sum of cluster sums would be so large if each had either sign by chance."""
    n, seen = len(excess), float(excess.sum())
    if n <= _ENUMERATED:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(signs @ excess >= seen - 1e-9 * np.abs(excess).sum()))
    return (1 + int(np.sum(_drawn_signs(n) @ excess >= seen - 1e-9 * np.abs(excess).sum()))) / (1 + _FLIPS)


@lru_cache(maxsize=4)
def _drawn_signs(n: int) -> Any:
    return 1.0 - 2.0 * np.random.default_rng(0).integers(0, 2, (_FLIPS, n))


# -- units that are solved or not -------------------------------------------------------------------------------------


def _exact(pairs: Pairs, margin: float) -> float:
    better, worse = int((pairs.gain > 0).sum()), int((pairs.gain < 0).sum())
    if margin == 0:
        return mcnemar(better, worse)
    return unconditional(better, worse, pairs.n, margin)


def mcnemar(better: int, worse: int) -> float:
    """P(Binomial(better + worse, 1/2) >= better)."""
    n = better + worse
    return sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n


@lru_cache(maxsize=4096)
def unconditional(better: int, worse: int, n: int, margin: float) -> float:
    """Largest chance of evidence as good as this at a loss of the margin, over shares of differing pairs.

    The shares are those that the data allow; as good as: Tango's score (1998) is at least the one observed.
    """
    low, high = _share(better + worse, n)
    shares = np.unique(np.clip(np.linspace(low, high, _GRID), abs(margin), 1.0))
    most = min(n, int(n * shares[-1] + 7 * math.sqrt(n * shares[-1]) + 7))  # more pairs differ next to never
    up, down = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    is_possible = (up + down) <= most
    up, down = up[is_possible], down[is_possible]
    counted = (up == better) & (down == worse)
    scores = _score(up, down, n, margin)
    is_as_good = scores >= scores[counted][0] - 1e-9
    up, down = up[is_as_good], down[is_as_good]
    logs = _log_factorials(n)
    ways = logs[n] - logs[up] - logs[down] - logs[n - up - down]
    with np.errstate(divide="ignore", invalid="ignore"):
        chances = [_mass(ways, (up, down, n - up - down), (share, margin)) for share in shares]
    return max(chances) + _GAMMA


def _score(up: Any, down: Any, n: int, margin: float) -> Any:
    """Tango's score for a loss of the margin, from counts of pairs that the one and the other model alone solved."""
    b = -up - down - (2 * n - up + down) * margin
    c = down * margin * (1 + margin)
    share = (np.sqrt(np.maximum(b * b - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * np.maximum(2 * share - margin * (1 + margin), 0)
    excess = up - down + n * margin
    return np.where(variance > 1e-12, excess / np.sqrt(np.maximum(variance, 1e-12)), 1e12 * np.sign(excess))


def _mass(ways: Floats, counts: tuple[Any, Any, Any], at: tuple[float, float]) -> float:
    """Sum of trinomial chances of some outcomes, at a share of differing pairs and a loss."""
    share, margin = at
    total = np.array(ways)
    for count, chance in zip(counts, ((share - margin) / 2, (share + margin) / 2, 1 - share), strict=True):
        total += np.where(count == 0, 0.0, count * np.log(max(chance, 0.0)))
    return float(np.exp(total).sum())


def _share(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share, by bisection; it misses the truth with chance `_GAMMA`."""
    return (
        0.0 if k == 0 else _solve(lambda share: _binomial_tail(k, n, share) < _GAMMA / 2),
        1.0 if k == n else _solve(lambda share: 1 - _binomial_tail(k + 1, n, share) > _GAMMA / 2),
    )


def _solve(is_below: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def _binomial_tail(k: int, n: int, share: float) -> float:
    """P(Binomial(n, share) >= k)."""
    if share in (0.0, 1.0):
        return float(k <= n * share)
    counts = np.arange(k, n + 1)
    logs = _log_factorials(n)
    ways = logs[n] - logs[counts] - logs[n - counts]
    return float(np.exp(ways + counts * math.log(share) + (n - counts) * math.log1p(-share)).sum())


@lru_cache(maxsize=16)
def _log_factorials(n: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
