from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.theory.activations import find_activation
from gradscope.theory.meanfield import mean_square, mean_square_slope, pair_moment
from gradscope.theory.quadrature import gaussian_nodes, root, sphere_nodes

LENGTHS = [1e-18, 1e-6, 0.01, 0.7, 1.0, 40.0, 1e4, 1e8]


@pytest.mark.parametrize("q", LENGTHS)
def test_second_moments_are_the_closed_forms_at_any_length(q: float) -> None:
    relu, linear, erf = (find_activation(name) for name in ("relu", "linear", "erf"))
    assert float(mean_square(linear, q)) == pytest.approx(q, rel=1e-13)
    assert float(mean_square(relu, q)) == pytest.approx(q / 2, rel=1e-13)
    assert float(mean_square_slope(relu, q)) == pytest.approx(0.5, rel=1e-13)
    # Williams 1996: E[erf(z)^2] = 2/pi asin(2q / (1 + 2q)); E[erf'(z)^2] = 4/pi (1 + 4q)^(-1/2).
    assert float(mean_square(erf, q)) == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-12)
    assert float(mean_square_slope(erf, q)) == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-12)


@pytest.mark.parametrize("q", LENGTHS)
def test_kinks_off_zero_are_integrated_as_exactly(q: float) -> None:
    inside = math.erf(1 / math.sqrt(2 * q))
    density = math.exp(-0.5 / q) / math.sqrt(2 * math.pi)
    clipped = q * (inside - 2 * density / math.sqrt(q)) + 1 - inside
    assert float(mean_square_slope(find_activation("hardtanh"), q)) == pytest.approx(inside, rel=1e-12)
    assert float(mean_square(find_activation("hardtanh"), q)) == pytest.approx(clipped, rel=1e-9)  # cancels at large q


@pytest.mark.parametrize("correlation", [-1.0, -0.9, -0.2, 0.0, 0.3, 0.99, 1.0 - 1e-9, 1.0])
def test_moments_of_pairs_are_the_arc_kernels(correlation: float) -> None:
    q, c = 1.7, correlation
    angle = math.acos(c)
    relu, erf = find_activation("relu"), find_activation("erf")
    kernel = q * (math.sin(angle) + (math.pi - angle) * c) / (2 * math.pi)  # Cho and Saul 2009
    assert pair_moment(relu, q, c) == pytest.approx(kernel, abs=1e-9)
    assert pair_moment(relu, q, c, slope=True) == pytest.approx((math.pi - angle) / (2 * math.pi), abs=1e-4)
    assert pair_moment(erf, q, c) == pytest.approx(2 / math.pi * math.asin(2 * c * q / (1 + 2 * q)), abs=1e-12)


def test_the_limit_of_no_variance_sees_a_kink_from_both_sides() -> None:
    assert float(mean_square_slope(find_activation("relu"), 0.0)) == pytest.approx(0.5)
    assert float(mean_square_slope(find_activation("selu"), 0.0)) == pytest.approx((1.0507**2 + 1.7581**2) / 2, rel=1e-4)


def test_nodes_take_arrays_of_variances_and_means() -> None:
    z, w = gaussian_nodes(np.array([[1.0, 4.0], [9.0, 0.25]]), (0.3,), np.array([1.0, -2.0]))
    np.testing.assert_allclose(np.sum(w, axis=-1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(np.sum(w * z, axis=-1), [[1.0, -2.0], [1.0, -2.0]], rtol=1e-13)
    np.testing.assert_allclose(np.sum(w * z * z, axis=-1), [[2.0, 8.0], [10.0, 4.25]], rtol=1e-13)


@pytest.mark.parametrize("dimension", [2, 3, 4, 7, 31, 5000])
def test_a_coordinate_on_the_sphere_has_the_moments_of_one(dimension: int) -> None:
    z, w = sphere_nodes(dimension, math.sqrt(dimension), (0.2,))
    assert float(np.sum(w * z**2)) == pytest.approx(1.0, rel=1e-12)
    assert float(np.sum(w * z**4)) == pytest.approx(3 * dimension / (dimension + 2), rel=1e-12)


def test_a_root_is_found_to_float64() -> None:
    assert root(lambda x: x**3 - 2.0, 0.0, 5.0) == pytest.approx(2.0 ** (1 / 3), rel=1e-15)
    assert root(lambda x: math.atan(x - 1e-6), -1e3, 1e3) == pytest.approx(1e-6, abs=1e-14)
    assert root(lambda x: x, 0.0, 1.0) == 0.0
