"""Curves over days: coefficients against independent references, the right curve wins, and too few points give none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.studies.fits import FEWEST, fits, lead

DAYS = list(range(1, 31))


def noise(seed: int, scale: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, len(DAYS))


@given(st.floats(-2, 2), st.floats(-1, 1), st.integers(0, 1000))
def test_linear_and_logarithmic_are_numpys_polynomial_fit(a, b, seed):
    values = a + b * np.log(DAYS) + noise(seed, 0.1)
    found = fits(DAYS, values)
    slope, intercept = np.polyfit(np.log(DAYS), values, 1)
    assert found["logarithmic"].coefficients == pytest.approx((intercept, slope), abs=1e-9)
    slope, intercept = np.polyfit(DAYS, values, 1)
    assert found["linear"].coefficients == pytest.approx((intercept, slope), abs=1e-9)
    assert found["flat"].coefficients == pytest.approx((values.mean(),))
    assert found["flat"].rss == pytest.approx(len(DAYS) * values.var())


def test_aic_is_that_of_the_normal_likelihood():
    values = 0.2 + 0.01 * np.array(DAYS) + noise(3, 0.05)
    fit = fits(DAYS, values)["linear"]
    errors = values - fit.at(DAYS)
    variance = (errors**2).mean()
    likelihood = sum(-0.5 * (math.log(2 * math.pi * variance) + e**2 / variance) for e in errors)
    # The criterion leaves out what is the same for all curves: n (1 + ln 2 pi).
    assert fit.aic == pytest.approx(-2 * likelihood + 2 * 3 - len(DAYS) * (1 + math.log(2 * math.pi)))


@pytest.mark.parametrize("tau", [0.7, 4.0, 25.0])
def test_the_saturating_curve_is_found_again(tau):
    values = 0.15 + 0.7 * (1 - np.exp(-np.array(DAYS) / tau))
    fit = fits(DAYS, values)["saturating"]
    assert fit.coefficients == pytest.approx((0.15, 0.7, tau), rel=1e-3)
    assert fit.at(DAYS) == pytest.approx(values, abs=1e-6)


def test_no_grid_of_taus_beats_the_saturating_fit():
    values = 0.3 + 0.1 * np.log(DAYS) + noise(1, 0.03)
    found = fits(DAYS, values)["saturating"]
    for tau in np.geomspace(0.1, 900, 3000):
        columns = np.column_stack([np.ones(len(DAYS)), 1 - np.exp(-np.array(DAYS) / tau)])
        _, rest, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
        if rank == 2:
            assert found.rss <= rest[0] * (1 + 1e-6)


@pytest.mark.parametrize(
    ("kind", "curve"),
    [
        ("linear", lambda t: 0.1 + 0.02 * t),
        ("logarithmic", lambda t: 0.1 + 0.2 * np.log(t)),
        ("saturating", lambda t: 0.1 + 0.7 * (1 - np.exp(-t / 5))),
    ],
)
def test_the_curve_that_made_the_data_wins(kind, curve):
    found = fits(DAYS, curve(np.array(DAYS, float)) + noise(7, 0.01))
    assert lead(found, kind) > 2
    assert all(lead(found, other) < 0 for other in found if other != kind)


def test_a_flat_curve_wins_where_nothing_happens():
    found = fits(DAYS, 0.5 + noise(2, 0.05))
    assert min(found, key=lambda kind: found[kind].aic) == "flat"


def test_too_few_points_and_exact_ones():
    assert fits(DAYS[: FEWEST - 1], [0.1] * (FEWEST - 1)) == {}
    exact = fits(DAYS, [0.5] * len(DAYS))
    assert all(math.isfinite(fit.aic) for fit in exact.values())
