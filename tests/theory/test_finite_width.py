from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.theory.activations import find_activation
from gradscope.theory.finite_width import Response, activation_response, largest_gaussian_singular_value
from gradscope.theory.meanfield import moments
from gradscope.theory.prediction import mlp, predict
from tests.theory.simulation import haar, simulate, torch_activation

# Width; mean and variance of ln |J u|^2 over 30 ReLU layers by exact calculation (Hanin and Nica 2020): with
# K ~ Binomial(n, 1/2) active units |J u|^2 of a layer is 2 chi^2_K / n. 2000 simulated nets of each
# width gave the same within their error.
HANIN = [(20, -4.12, 9.35), (50, -1.55, 3.245), (100, -0.763, 1.558)]


@pytest.mark.parametrize(("width", "mean", "variance"), HANIN)
def test_the_predicted_spread_of_a_relu_net_is_the_exact_one_to_first_order(width: int, mean: float, variance: float) -> None:
    layers = mlp(depth=31, width=width, inputs=width, outputs=width, activation="relu", sigma_w=math.sqrt(2))
    first = predict(layers, width=width).stations[0]
    assert (2 * first.ratio_spread) ** 2 == pytest.approx(
        variance, rel=4.5 / width
    )  # what is left is the next order in 1/width
    assert 2 * first.ratio_drift == pytest.approx(mean, rel=4.5 / width)


@pytest.mark.parametrize(("name", "times"), [("relu", 5.0), ("linear", 2.0)])
def test_the_predicted_spread_of_a_plain_net_is_hanins(name: str, times: float) -> None:
    depth, width = 31, 100
    layers = mlp(depth=depth, width=width, inputs=width, outputs=width, activation=name, sigma_w=1.0)
    first = predict(layers, width=width).stations[0]
    beta = times * (depth - 1) / width
    assert first.ratio_spread == pytest.approx(0.5 * math.sqrt(beta))
    assert first.ratio_drift == pytest.approx(-beta / 4)


_SLOPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": lambda z: (z > 0).float(),
    "linear": torch.ones_like,
    "tanh": lambda z: 1 - torch.tanh(z) ** 2,
}


@cache
def _log_norms(weights: str) -> dict[str, torch.Tensor]:
    """The ln |J u| of 300 nets, 20 layers of width 64, from the first pre-activation to the last, for all three activations."""
    random = torch.Generator().manual_seed(5)
    pool = torch.randn(300, 64, 64, generator=random) / 8.0
    if weights == "orthogonal":
        pool = torch.stack([haar(w) for w in pool])
    z = torch.randn(300, 64, 1, generator=random)
    z = z / z.square().mean(1, keepdim=True).sqrt()
    lengths, tangents = dict.fromkeys(_SLOPES, z), dict.fromkeys(_SLOPES, torch.randn(300, 64, 1, generator=random))
    start = tangents["relu"].norm(dim=(1, 2))
    for _ in range(20):
        # Every net gets other matrices: flipping the signs of rows and columns changes neither distribution.
        signs = torch.randint(0, 2, (2, 300, 64), generator=random) * 2.0 - 1.0
        w = signs[0][:, :, None] * pool[torch.randperm(300, generator=random)] * signs[1][:, None, :]
        for name, slope in _SLOPES.items():
            sigma = math.sqrt(2.0) if name == "relu" else 1.0
            z = lengths[name]
            tangents[name] = sigma * w @ (slope(z) * tangents[name])
            lengths[name] = sigma * w @ torch_activation(name)(z)
    return {name: torch.log(tangent.norm(dim=(1, 2)) / start) for name, tangent in tangents.items()}


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("name", list(_SLOPES))
def test_simulated_nets_spread_as_far_as_predicted(name: str, weights: str) -> None:
    layers = mlp(
        depth=21,
        width=64,
        inputs=64,
        outputs=64,
        activation=name,
        sigma_w=math.sqrt(2.0) if name == "relu" else 1.0,
        weights=weights,  # type: ignore[arg-type]
    )
    first = predict(layers, width=64).stations[0]
    logs = _log_norms(weights)[name]
    # A standard deviation from 300 nets has an error of 4 %; the rest is for the higher orders in 1/width.
    assert float(logs.std()) == pytest.approx(first.ratio_spread, rel=0.15, abs=1e-4)
    typical = math.log(first.backward_ratio) + first.ratio_drift
    assert float(logs.mean()) == pytest.approx(typical, abs=3.5 * first.ratio_spread / math.sqrt(300) + 0.03)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_largest_singular_value_of_a_gaussian_product_is_the_edge_of_its_law_and_of_an_orthogonal_one_1(depth: int) -> None:
    random = torch.Generator().manual_seed(3)
    product, rotation = torch.eye(700), torch.eye(100)
    for _ in range(depth):
        product = torch.randn(700, 700, generator=random) / math.sqrt(700) @ product
        rotation = haar(torch.randn(100, 100, generator=random)) @ rotation
    largest = float(torch.linalg.matrix_norm(product, 2)) ** 2
    # One draw: the edge is reached from below like width^(-2/3), and the norm itself varies by 2 depth / width.
    assert largest == pytest.approx(largest_gaussian_singular_value(depth), rel=0.07)
    assert largest_gaussian_singular_value(30) == pytest.approx(82.9, abs=0.05)
    assert torch.linalg.svdvals(rotation).tolist() == pytest.approx([1.0] * 100, abs=1e-4)


def test_responses_compose_in_any_grouping() -> None:
    a, b, c = (activation_response(moments(find_activation(name), np.array([1.3])), 50) for name in ("tanh", "gelu", "relu"))
    left, right = a.then(b).then(c), a.then(b.then(c))
    assert vars(left) == pytest.approx(vars(right))
    assert Response().then(a) == a.then(Response()) == a


def test_a_composed_response_has_the_moments_of_the_noise_passed_on() -> None:
    random = np.random.default_rng(0)
    first = Response(0.8, -0.5, 0.3, 0.2, 0.15, -0.1, 0.05)
    after = Response(1.4, 0.7, 0.1, 0.4, -0.12, 0.02, -0.2)
    draws = [
        random.multivariate_normal(
            [r.length_drift, r.gain_drift], [[r.length_variance, r.covariance], [r.covariance, r.gain_variance]], 400_000
        ).T
        for r in (first, after)
    ]
    start = random.normal(size=400_000)
    middle = first.carry * start + draws[0][0]
    end = after.carry * middle + draws[1][0]
    gain = first.tilt * start + draws[0][1] + after.tilt * middle + draws[1][1]
    both = first.then(after)
    assert np.mean(end) == pytest.approx(both.length_drift, abs=0.01)
    assert np.mean(gain) == pytest.approx(both.gain_drift, abs=0.01)
    noise_end, noise_gain = end - both.carry * start, gain - both.tilt * start
    assert np.var(noise_end) == pytest.approx(both.length_variance, rel=0.01)
    assert np.var(noise_gain) == pytest.approx(both.gain_variance, rel=0.01)
    assert np.cov(noise_end, noise_gain)[0, 1] == pytest.approx(both.covariance, abs=0.005)
    for noise in (noise_end, noise_gain):  # what is left does not depend on the start
        assert abs(np.corrcoef(noise, start)[0, 1]) < 0.01


def test_the_length_that_a_stretch_starts_from_drifts_too() -> None:
    width = 100
    layers = mlp(depth=10, width=width, inputs=width, outputs=width, activation="relu", sigma_w=1.0, norm="layer")
    whole, rest = predict(layers, width=width), predict(layers[12:], width=width)
    # At the fifth matrix the log length is off by half the variance of phi^2 at fixed length, 3 / n; the norm undoes it.
    assert whole.layers[12].ratio_drift - rest.layers[0].ratio_drift == pytest.approx(0.5 * 0.5 * 3 / width, rel=1e-3)


def test_units_of_fixed_length_lose_the_noise_of_their_own_length() -> None:
    linear = moments(find_activation("linear"), np.array([1.0]))
    free, held = activation_response(linear, 10), activation_response(linear, 10, length_noise=0.0)
    assert free.length_variance == pytest.approx(0.2)
    assert held.length_variance == pytest.approx(0.0, abs=1e-12)
    assert held.gain_variance == pytest.approx(0.0, abs=1e-12)


WITH_NORMS_AND_STREAMS: dict[str, dict[str, Any]] = {
    "layer-norm-relu": {"activation": "relu", "norm": "layer"},
    "layer-norm-tanh": {"activation": "tanh", "norm": "layer"},
    "stream-of-tanh": {"activation": "tanh", "sigma_w": 1.0, "branch_scale": 0.5},
    "stream-with-layer-norm": {"activation": "relu", "norm": "layer", "branch_scale": 1.0},
}


@pytest.mark.parametrize("name", WITH_NORMS_AND_STREAMS)
def test_nets_with_norms_and_streams_spread_and_drift_as_predicted(name: str) -> None:
    width, nets = 48, 250
    options = {"sigma_w": math.sqrt(2), **WITH_NORMS_AND_STREAMS[name]}
    layers = mlp(depth=12, width=width, inputs=width, outputs=width, **options)
    first = predict(layers, width=width).layers[0]
    gradients = simulate(layers, nets=nets, samples=1, width=width).gradients
    logs = 0.5 * torch.log(gradients[:, 0] / gradients[:, -1])
    # A standard deviation from 250 nets has an error of 4.5 %; the rest is for the higher orders in 1/width.
    assert float(logs.std()) == pytest.approx(first.ratio_spread, rel=0.15)
    drift = float(logs.mean()) - first.log_ratio
    assert drift == pytest.approx(first.ratio_drift, abs=3 * first.ratio_spread / math.sqrt(nets) + 0.02)
