from __future__ import annotations

import math

import pytest
import torch

from gradscope.errors import UnsupportedError
from gradscope.theory.activations import find_activation
from gradscope.theory.normalisation import batch_moments, plain_batch_norm_factor, plain_layer_norm_factor


@pytest.mark.parametrize("batch", [4, 5, 16, 32, 1024])
def test_a_linear_batch_norm_net_has_the_published_factor(batch: int) -> None:
    assert plain_batch_norm_factor(find_activation("identity"), batch) == pytest.approx((batch - 2) / (batch - 3), rel=1e-9)


def test_a_relu_batch_norm_net_tends_to_pi_over_pi_minus_one_from_above() -> None:
    relu = find_activation("relu")
    limit = math.pi / (math.pi - 1)
    assert plain_batch_norm_factor(relu) == pytest.approx(limit, rel=1e-12)
    factors = [plain_batch_norm_factor(relu, batch) for batch in (8, 16, 64, 512, 8192)]
    assert factors == sorted(factors, reverse=True)
    assert limit < factors[-1] < 1.0003 * limit


@pytest.mark.parametrize(("batch", "measured"), [(16, 1.593), (32, 1.526), (64, 1.493), (128, 1.480)])
def test_the_factor_at_a_finite_batch_is_the_one_that_wide_nets_were_measured_at(batch: int, measured: float) -> None:
    # Interior layers of nets of width 2048 (1024 at 16); a few layers of one net: 0.5 %.
    assert plain_batch_norm_factor(find_activation("relu"), batch) == pytest.approx(measured, rel=5e-3)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "hardtanh"])
@pytest.mark.parametrize("batch", [4, 7, 20])
def test_batch_moments_are_those_of_normalised_random_batches(name: str, batch: int) -> None:
    torch.manual_seed(batch)
    units = 800_000 // batch
    z = torch.nn.functional.batch_norm(torch.randn(batch, units, dtype=torch.float64), None, None, training=True, eps=1e-300)
    z.requires_grad_()
    y = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    h = y(z)
    h.sum().backward()
    d, values = z.grad, h.detach()
    moments = batch_moments(find_activation(name), batch)
    assert moments.mean_square == pytest.approx(float(values.square().mean()), rel=3e-3)
    pairs = (values.sum(0).square() - values.square().sum(0)).mean() / (batch * (batch - 1))
    assert moments.overlap == pytest.approx(float(pairs), abs=2e-3)
    # A random gradient that sums to 0 over the batch, through phi and then the projections of batch norm.
    g = torch.randn(batch, units, dtype=torch.float64)
    through = d * (g - g.mean(0))
    unit = z.detach() / math.sqrt(batch)
    left = through - through.mean(0) - unit * (unit * through).sum(0)
    assert moments.slope_square == pytest.approx(float(left.square().sum() / units) / (batch - 2), rel=6e-3)


def test_batch_norm_over_three_samples_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="over 3 samples"):
        batch_moments(find_activation("relu"), 3)


def test_a_layer_norm_net_has_the_ratio_of_the_moments_at_any_weight_scale() -> None:
    for sigma_w in (0.3, 1.0, 5.0):
        assert plain_layer_norm_factor(find_activation("relu"), sigma_w) == pytest.approx(1.0)
        assert plain_layer_norm_factor(find_activation("tanh"), sigma_w) == pytest.approx(1.1778, abs=5e-5)
    assert plain_layer_norm_factor(find_activation("relu"), 1.0, 1.0) == pytest.approx(0.5 / 1.5)
