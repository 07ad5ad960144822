from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.theory.activations import ACTIVATIONS, find_activation
from gradscope.theory.meanfield import (
    chi,
    depth_scale,
    fixed_points,
    flat_share,
    limit_length,
    mean_square,
    mean_square_slope,
    next_length,
    pair_moment,
    trajectory,
)
from tests.theory.settings import GRID, Known

# tanh with bias variance 0.05: sigma_w^2, xi_c, xi_grad, from an independent solver, to the digits it printed.
DEPTH_SCALES = [(1.0, 3.63, None), (1.7, 74.9, None), (2.5, 11.8, 7.98), (4.0, 6.98, 3.40)]


@pytest.mark.parametrize(("w", "correlation_scale", "gradient_scale"), DEPTH_SCALES)
def test_depth_scales_of_tanh_are_the_known_ones(w: float, correlation_scale: float, gradient_scale: float | None) -> None:
    (point,) = fixed_points(find_activation("tanh"), math.sqrt(w), math.sqrt(0.05))
    assert point.stability == "stable"
    assert point.correlation_scale == pytest.approx(correlation_scale, rel=2e-3)
    if gradient_scale is None:  # in the ordered phase both are the same
        assert point.gradient_scale == point.correlation_scale
    else:
        assert point.gradient_scale == pytest.approx(gradient_scale, rel=2e-3)


@pytest.mark.parametrize("known", GRID, ids=lambda known: str(known.setting))
def test_chi_at_the_limit_of_the_length_map_is_the_known_one(known: Known) -> None:
    s = known.setting
    phi = find_activation(s.activation, **dict(s.options))
    sigma_w, sigma_b = math.sqrt(s.sigma_w_squared), math.sqrt(s.sigma_b_squared)
    limit = limit_length(phi, sigma_w, sigma_b, start=s.sigma_w_squared + s.sigma_b_squared)
    if s.activation == "gelu":  # the known number is that of the limit from below the unstable point, where the signal dies
        limit = limit_length(phi, sigma_w, sigma_b, start=0.9)
        assert limit == 0.0
    # Half a unit of the last digit, and 1e-4 for tanh on its critical line, where the limit 0 is reached like 1/depth.
    assert float(chi(phi, min(limit, 1e9), sigma_w)) == pytest.approx(known.chi, abs=1.01e-4)


def test_gelu_at_its_boundary_has_a_stable_point_at_zero_and_an_unstable_one_near_one() -> None:
    zero, one = fixed_points(find_activation("gelu"), 1.5335)
    assert (zero.length, zero.stability) == (0.0, "stable")
    assert zero.chi == pytest.approx(0.588, abs=1e-3)
    assert one.length == pytest.approx(1.0, abs=1e-3)
    assert one.stability == "unstable"
    assert one.chi == pytest.approx(1.072, abs=1e-3)
    gelu = find_activation("gelu")
    assert limit_length(gelu, 1.5335, start=0.99) == 0.0
    assert limit_length(gelu, 1.5335, start=1.01) == math.inf


def test_a_critical_relu_leaves_every_length_as_it_is() -> None:
    zero, any_length = fixed_points(find_activation("relu"), math.sqrt(2.0))
    assert (zero.stability, any_length.stability) == ("marginal", "marginal")
    assert any_length.length_scale == any_length.correlation_scale == any_length.gradient_scale == math.inf
    assert limit_length(find_activation("relu"), math.sqrt(2.0), start=3.7) == 3.7


def test_relu_with_biases_has_no_fixed_point_at_its_critical_gain() -> None:
    relu = find_activation("relu")
    assert fixed_points(relu, math.sqrt(2.0), 0.3) == ()
    assert limit_length(relu, math.sqrt(2.0), 0.3) == math.inf
    (point,) = fixed_points(relu, 1.0, 0.3)
    assert point.length == pytest.approx(0.09 / (1 - 0.5))  # q = q/2 + 0.09


def test_a_bistable_net_reports_where_its_signal_may_not_start() -> None:
    low, high = fixed_points(find_activation("silu"), math.sqrt(2.5), 0.1)
    assert (low.stability, high.stability) == ("stable", "unstable")
    silu = find_activation("silu")
    assert limit_length(silu, math.sqrt(2.5), 0.1, start=0.9 * high.length) == pytest.approx(low.length)
    assert limit_length(silu, math.sqrt(2.5), 0.1, start=1.1 * high.length) == math.inf


def test_the_limit_is_where_iteration_ends() -> None:
    tanh = find_activation("tanh")
    q = trajectory(tanh, 400, 1.5, 0.2)
    assert q[0] == pytest.approx(1.5**2 + 0.04)
    assert limit_length(tanh, 1.5, 0.2) == pytest.approx(float(q[-1]), rel=1e-12)
    assert float(next_length(tanh, q[-1], 1.5, 0.2)) == pytest.approx(float(q[-1]), rel=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_length_map_never_falls_so_that_its_limit_can_be_found_as_a_root(name: str) -> None:
    assert (np.diff(mean_square(find_activation(name), np.logspace(-8, 7, 400))) >= 0).all()


def test_a_signal_that_grows_without_end_stops_at_a_finite_number() -> None:
    assert trajectory(find_activation("relu"), 2000, 4.0)[-1] == 1e120


def test_gradients_of_unrelated_inputs_drift_apart_by_a_half_a_layer_and_with_a_skip_path_by_three_quarters() -> None:
    # Balduzzi 2017: 1/2^L for a plain ReLU net, (3/4)^L with residual blocks, whose squared gain is 1 + 1.
    relu = find_activation("relu")
    shares = [pair_moment(relu, 1.0, c, slope=True) / mean_square_slope(relu, 1.0) for c in (0.0, 1.0)]
    assert shares == pytest.approx([1 / 2, 1.0])
    assert (1 + shares[0]) / (1 + 1) == pytest.approx(3 / 4)


def test_a_depth_scale_is_the_layers_to_a_factor_of_e() -> None:
    assert depth_scale(math.exp(-0.25)) == pytest.approx(4.0)
    assert depth_scale(math.exp(0.25)) == pytest.approx(4.0)
    assert (depth_scale(1.0), depth_scale(0.0)) == (math.inf, 0.0)


def test_the_flat_share_is_that_of_a_gaussian_beyond_where_the_slope_is_a_twentieth() -> None:
    tanh = find_activation("tanh")
    edge = math.atanh(math.sqrt(0.95))
    for length in (0.25, 1.0, 9.0):
        assert flat_share(tanh, length) == pytest.approx(math.erfc(edge / math.sqrt(2.0 * length)), abs=1e-3)
    assert flat_share(find_activation("relu"), 3.0) == pytest.approx(0.5, abs=1e-3)
    assert flat_share(find_activation("sigmoid"), 45.62) > 0.5  # at its critical gain most of a sigmoid's units are saturated
