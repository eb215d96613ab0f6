"""Regions and probabilities of normal distributions, against SciPy and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from knuckle.metrics.gaussian import gaussian_limit, probability_within, region_area, squared_mahalanobis


def covariance_of(a: float, b: float, turn: float) -> np.ndarray:
    """Standard deviations a and b along axes turned by an angle."""
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.asarray(axes @ np.diag([a * a, b * b]) @ axes.T)


def test_the_score_is_numpys_quadratic_form() -> None:
    rng = np.random.default_rng(0)
    offset, root = rng.normal(size=(50, 2)), rng.normal(size=(50, 2, 2))
    covariance = root @ np.swapaxes(root, -1, -2)
    expected = [d @ np.linalg.solve(c, d) for d, c in zip(offset, covariance, strict=True)]
    np.testing.assert_allclose(squared_mahalanobis(offset, covariance), expected, rtol=1e-8)


def test_regions_without_an_inside_hold_their_centre_alone() -> None:
    flat = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert squared_mahalanobis(np.array([0.0, 1.0]), flat) == np.inf
    assert squared_mahalanobis(np.zeros(2), flat) == 0
    assert np.isnan(squared_mahalanobis(np.array([np.nan, 0.0]), np.eye(2)))
    assert np.isnan(squared_mahalanobis(np.zeros(2), np.full((2, 2), np.nan)))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.999])
def test_limits_are_quantiles_of_chi_square(level: float) -> None:
    assert gaussian_limit(level) == pytest.approx(stats.chi2.ppf(level, 2), rel=1e-12)


def test_the_area_is_that_of_the_ellipse() -> None:
    assert region_area(covariance_of(3, 2, 0.7), np.array(4.0)) == pytest.approx(math.pi * 6 * 2 * 2)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (3.0, 1.0), (1.0, 10.0), (0.2, 0.25), (40.0, 30.0)])
def test_the_probability_of_a_disc_is_the_integral_of_the_density(a: float, b: float) -> None:
    def mass_at(distance: float) -> float:
        """Of the circle of that radius, by its own integral over angles."""
        around = integrate.quad(
            lambda angle: math.exp(-0.5 * distance**2 * (math.cos(angle) ** 2 / a**2 + math.sin(angle) ** 2 / b**2)),
            0,
            math.pi / 2,
            epsabs=1e-12,
        )
        return 4 * around[0] * distance / (2 * math.pi * a * b)

    for turn in (0.0, 0.9):
        ours = probability_within(covariance_of(a, b, turn), np.array(1.7))
        assert ours == pytest.approx(integrate.quad(mass_at, 0, 1.7, epsabs=1e-10)[0], abs=2e-6)


def test_the_probability_of_a_disc_is_rayleighs_where_all_directions_are_equal() -> None:
    radius = np.array([0.0, 0.5, 1.0, 4.0, 1e6])
    ours = probability_within(np.broadcast_to(4 * np.eye(2), (5, 2, 2)), radius)
    np.testing.assert_allclose(ours, stats.rayleigh.cdf(radius, scale=2), atol=1e-12)


@given(
    a=st.floats(0.01, 100),
    b=st.floats(0.01, 100),
    turn=st.floats(0, math.pi),
    other=st.floats(0, math.pi),
    radius=st.floats(0.01, 100),
    zoom=st.floats(0.1, 10),
)
def test_probabilities_do_not_depend_on_axes_and_units(
    a: float, b: float, turn: float, other: float, radius: float, zoom: float
) -> None:
    here = float(probability_within(covariance_of(a, b, turn), np.array(radius)))
    there = float(probability_within(zoom**2 * covariance_of(a, b, other), np.array(zoom * radius)))
    assert 0 <= here <= 1
    assert here == pytest.approx(there, abs=1e-9)
    assert here >= float(probability_within(covariance_of(a, b, turn), np.array(0.9 * radius)))
