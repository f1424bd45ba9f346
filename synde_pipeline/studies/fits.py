"""Curves over days: least squares of a flat, a linear, a logarithmic and a saturating one, and which the data prefer.

    flat  y = a      linear  y = a + b t      logarithmic  y = a + b ln t      saturating  y = a + b (1 - e^(-t/tau))

By Akaike's criterion with errors of equal unknown variance, AIC = n ln(RSS / n) + 2 (parameters + 1): the smaller, the
better. Pure arithmetic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import e, exp, log

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
FEWEST = 8
"""Points below which no curve is fitted: a saturating one has four unknowns, its variance included."""
_TINY = 1e-12
"""Mean square below which a fit counts as exact: AIC has no lower bound there."""
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Fit:
    """One curve and how well it fits."""

    kind: str
    coefficients: tuple[float, ...]
    """a, then b and tau where the curve has them."""
    rss: float
    """Sum of squared errors."""
    aic: float

    def at(self, times: Sequence[float]) -> Vector:
        """The curve at some times."""
        t = np.asarray(times, np.float64)
        if self.kind == "saturating":
            a, b, tau = self.coefficients
            return a + b * _risen(t, tau)
        return _SHAPES[self.kind](t) @ np.array(self.coefficients)


def fits(times: Sequence[float], values: Sequence[float]) -> dict[str, Fit]:
    """All curves by name, fitted to values at times >= 1; empty for fewer than `FEWEST` points."""
    t, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if len(t) < FEWEST:
        return {}
    found = {kind: _fit(kind, shape(t), y) for kind, shape in _SHAPES.items()}
    return {**found, "saturating": _saturating(t, y)}


def _fit(kind: str, columns: Vector, y: Vector, extra: tuple[float, ...] = ()) -> Fit:
    """Least squares of y on some columns, (points, coefficients); `extra` are parameters that were found before."""
    coefficients = np.linalg.lstsq(columns, y, rcond=None)[0]
    rss = float(((y - columns @ coefficients) ** 2).sum())
    every = (*map(float, coefficients), *extra)
    n = len(y)
    return Fit(kind, every, rss, n * log(max(rss / n, _TINY)) + 2 * (len(every) + 1))


def _saturating(t: Vector, y: Vector) -> Fit:
    """For each tau the rest is linear: a grid of taus, and golden section around the best."""

    def fit(log_tau: float) -> Fit:
        tau = exp(log_tau)
        return _fit("saturating", np.column_stack([np.ones_like(t), _risen(t, tau)]), y, (tau,))

    # From a rise within a fraction of the first step to one that is straight all the way.
    grid = np.linspace(log(0.1), log(30 * float(t.max())), 120)
    best = min(range(len(grid)), key=lambda k: fit(float(grid[k])).rss)
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    while high - low > 1e-6:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if fit(left).rss <= fit(right).rss else (left, high)
    return fit((low + high) / 2)


def _risen(t: Vector, tau: float) -> Vector:
    return 1 - e ** (-t / tau)


_SHAPES: dict[str, Callable[[Vector], Vector]] = {
    "flat": lambda t: np.ones((len(t), 1)),
    "linear": lambda t: np.column_stack([np.ones_like(t), t]),
    "logarithmic": lambda t: np.column_stack([np.ones_like(t), np.log(t)]),
}


def lead(found: dict[str, Fit], kind: str) -> float:
    """By how much AIC prefers a curve to the best of the others; negative where another one fits better."""
    return min(fit.aic for name, fit in found.items() if name != kind) - found[kind].aic
