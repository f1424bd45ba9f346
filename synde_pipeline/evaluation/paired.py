"""Paired one-sided tests of a candidate against the champion on the same units: is it better, is it not worse by much.

Pure arithmetic on per-unit gains. Intervals for pages are in `stats`; how much level a comparison may use, in `wealth`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GAMMA = 1e-3
"""Chance that the true share of differing pairs lies outside the interval searched (Berger and Boos 1994)."""
_GRID = 33
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

    def excess(self, margin: float) -> Floats:
        """Sum of gain + margin * size in each cluster, (clusters,): positive where not worse by the margin."""
        _, index = np.unique(np.array(self.cluster, dtype=object).astype(str), return_inverse=True)
        return np.bincount(index, self.gain + margin * self.size).astype(np.float64)

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
    signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, (_FLIPS, n))
    return (1 + int(np.sum(signs @ excess >= seen - 1e-9 * np.abs(excess).sum()))) / (1 + _FLIPS)


# -- units that are solved or not -------------------------------------------------------------------------------------


def _exact(pairs: Pairs, margin: float) -> float:
    better, worse = int((pairs.gain > 0).sum()), int((pairs.gain < 0).sum())
    if margin == 0:
        return mcnemar(better, worse)
    if margin < 0:
        # "Better by more than this": only intervals ask; McNemar's argument does not reach there.
        return _unconditional(worse, better, pairs.n, -margin, is_mirrored=True)
    return _unconditional(better, worse, pairs.n, margin)


def mcnemar(better: int, worse: int) -> float:
    """P(Binomial(better + worse, 1/2) >= better)."""
    n = better + worse
    return sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n


def _unconditional(better: int, worse: int, n: int, margin: float, *, is_mirrored: bool = False) -> float:
    """Largest P(difference >= observed) over shares of differing pairs that the data allow, at a loss of the margin.

    Mirrored: counts were swapped, and the hypothesis is a gain of at most the margin.
    """
    low, high = _share(better + worse, n)
    shares = np.linspace(max(low, margin), max(high, margin), _GRID)
    up, down = (shares - margin) / 2, (shares + margin) / 2
    seen = better - worse
    if is_mirrored:
        up, down, seen = down, up, -seen
    return float(_tails(up, down, n, seen).max()) + _GAMMA


def _tails(up: Floats, down: Floats, n: int, seen: int) -> Floats:
    """P(sum of n steps of +1, -1 or 0 >= seen) for each pair of chances, by the characteristic function: (pairs,)."""
    size = 2 * n + 1
    angle = 2 * np.pi * np.arange(size) / size
    one: Any = 1 - up - down
    steps = one[:, None] + up[:, None] * np.exp(-1j * angle) + down[:, None] * np.exp(1j * angle)
    mass = np.fft.ifft(steps**n, axis=1).real  # index k is the sum k, or k - size where that is negative
    sums = np.where(np.arange(size) <= n, np.arange(size), np.arange(size) - size)
    return np.clip(mass[:, sums >= seen].sum(1), 0.0, 1.0)


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
    logs = _log_choose(n)[k:] + counts * math.log(share) + (n - counts) * math.log1p(-share)
    return float(np.exp(logs).sum())


def _log_choose(n: int) -> Floats:
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return factorials[n] - factorials - factorials[::-1]
