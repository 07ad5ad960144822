"""Theory against real networks: width 512, three nets of eight inputs, fixed seeds.

The tolerance is 3.5 % per layer. The logarithm of a layer's squared-norm factor, averaged over S nets of L layers, has the
standard error sqrt(5 / (n S (L - 1))) for ReLU (Hanin 2018), 1.1 % at n = 512, S = 3, L = 30; inputs of one net do not
count as independent. Three of them are 3.3 %, and some activations fluctuate a little more than ReLU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gradscope.theory import Activation, Layer, Linear, Normalise, Residual, mlp, predict
from tests.theory.settings import FURTHER, GRID, Setting
from tests.theory.simulation import simulate
from tests.theory.test_prediction import plain

PER_LAYER = 0.035
SETTINGS = [known.setting for known in GRID] + FURTHER


@pytest.mark.parametrize("seed", range(len(SETTINGS)), ids=lambda seed: str(SETTINGS[seed]))
def test_the_factor_per_layer_of_a_plain_net_is_the_predicted_one(seed: int) -> None:
    setting = SETTINGS[seed]
    layers = plain(setting, 30, 512)
    prediction = predict(layers, width=512)
    simulated = simulate(layers, seed=seed)
    factor = simulated.factor(0, -1) ** (1 / 29)
    assert factor == pytest.approx(prediction.mean_gain() ** 2, rel=PER_LAYER)
    # And net by net the whole way lies where finite width allows: 4 standard deviations, for 3 of 40 nets at 29 stations.
    for net in simulated.gradients:
        for row, gradient in zip(prediction.layers, net, strict=True):
            low, high = row.ratio_interval(sigmas=4.0)
            assert low * (1 - 1e-6) < math.sqrt(gradient / net[-1]) < high * (1 + 1e-6)


def _worst_error_per_layer(layers: Sequence[Layer], *, samples: int = 8, batch: int | None = None, seed: int = 7) -> float:
    """The worst relative error of a squared gradient or length from the first station to any later, as a mean per layer."""
    prediction = predict(layers, width=512, batch=batch)
    simulated = simulate(layers, samples=samples, seed=seed)
    stations = [i for i, layer in enumerate(layers) if isinstance(layer, Linear | Residual)]
    rows, errors = prediction.layers, []
    lengths = simulated.lengths.sum(dim=0)
    for count, i in enumerate(stations[4:], start=4):
        first = stations[0]
        backward = simulated.factor(first, i) / (rows[first].backward_ratio / rows[i].backward_ratio) ** 2
        forward = float(lengths[i] / lengths[first]) / (rows[i].rms / rows[first].rms) ** 2
        errors += [abs(math.log(backward)) / count, abs(math.log(forward)) / count]
    return max(errors)


def _residual(depth: int, activation: str, **options: Any) -> tuple[Layer, ...]:
    settings = {"sigma_w": math.sqrt(2), "branch_scale": 1.0, **options}
    return mlp(depth=depth + 2, width=512, inputs=512, outputs=512, activation=activation, **settings)


STREAMS = {
    "he": _residual(40, "relu"),
    "root-depth": _residual(40, "relu", branch_scale=40**-0.5),
    "zero": _residual(40, "relu", branch_scale=0.0),
    "half-with-bias": _residual(20, "gelu", branch_scale=0.5, sigma_b=0.2),
    "tanh": _residual(40, "tanh", sigma_w=1.0),
    "pre-layer-norm": _residual(40, "relu", norm="layer"),
    "pre-rms-norm": _residual(40, "silu", norm="rms"),
    "orthogonal": _residual(8, "relu", weights="orthogonal"),
    "dropout": _residual(20, "relu", norm="layer", dropout=0.2),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_residual_stream_grows_both_ways_as_predicted(name: str) -> None:
    assert _worst_error_per_layer(STREAMS[name]) < PER_LAYER


@pytest.mark.parametrize("batch", [16, 64])
@pytest.mark.parametrize("scale", [1.0, None])
def test_a_batch_norm_net_explodes_as_predicted_at_a_finite_batch(batch: int, scale: float | None) -> None:
    # Relative to the first block; the loss's gradient is not centred over the batch, one part in B at the very end.
    net = _residual(12, "relu", norm="batch", branch_scale=scale)
    assert _worst_error_per_layer(net, samples=batch, batch=batch) < PER_LAYER


@pytest.mark.parametrize("activation", ["identity", "tanh", "sigmoid", "gelu"])
def test_batch_norm_with_other_activations_small_weights_and_biases_does_too(activation: str) -> None:
    net = _residual(12, activation, norm="batch", branch_scale=None, sigma_w=0.7, sigma_b=0.3)
    assert _worst_error_per_layer(net, samples=32, batch=32) < PER_LAYER


@pytest.mark.parametrize("order", ["activation-norm", "post-norm", "feed-forward"])
def test_layers_in_other_orders_do_as_predicted(order: str) -> None:
    relu, wide = Activation("relu"), Linear(512, 512, math.sqrt(2))
    nets: dict[str, list[Layer]] = {
        "activation-norm": [wide, *[relu, Normalise("batch"), wide] * 10],
        "post-norm": [wide, *[Residual((wide, relu, Linear(512, 512, 1.0))), Normalise("layer")] * 20, wide],
        "feed-forward": [wide, *[Residual((Normalise("layer"), wide, relu, Linear(512, 512, 1.0)))] * 20, wide],
    }
    assert _worst_error_per_layer(nets[order], samples=64, batch=64) < PER_LAYER


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
def test_a_plain_layer_norm_net_does_as_predicted(activation: str) -> None:
    assert _worst_error_per_layer(_residual(20, activation, norm="layer", branch_scale=None)) < PER_LAYER


def test_inputs_of_another_scale_go_another_way() -> None:
    layers = plain(Setting("tanh", 2.0, 0.05), 12, 512)
    for scale in (0.05, 5.0):
        prediction = predict(layers, width=512, input_length=scale**2)
        simulated = simulate(layers, seed=3, scale=scale)
        assert simulated.factor(0, -1) ** (1 / 11) == pytest.approx(prediction.mean_gain() ** 2, rel=PER_LAYER)


def test_widths_that_change_leave_the_summed_norm_alone() -> None:
    widths = [512, 256, 1024, 128, 512, 64, 512]
    layers: list[Layer] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [Linear(fan_in, fan_out, math.sqrt(2)), Activation("relu")]
    layers.append(Linear(512, 10, 1.0))
    prediction, simulated = predict(layers, width=512), simulate(layers, nets=12)
    # The narrow layers set the chance: 12 nets, each with this spread of the norm.
    spread = 2 * prediction.layers[0].ratio_spread / math.sqrt(12)
    assert spread < 0.15
    assert math.log(simulated.factor(0, -1)) == pytest.approx(2 * math.log(prediction.layers[0].backward_ratio), abs=3 * spread)


def test_a_jump_is_predicted_over_a_few_layers_and_drifts_off_over_many() -> None:
    layers = plain(Setting("hardshrink", 0.9, 0.1), 30, 512)
    prediction, simulated = predict(layers, width=512), simulate(layers, seed=1)
    few, many = (simulated.factor(i, -1) / prediction.layers[i].backward_ratio ** 2 for i in (len(layers) - 7, 0))
    assert few ** (1 / 3) == pytest.approx(1.0, abs=2 * PER_LAYER)  # three layers only: three times the error
    assert many > 10.0


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, classes = load_digits(return_X_y=True)
    spread = images.std(0)
    images = (images - images.mean(0)) / np.where(spread > 0, spread, 1.0)
    return torch.tensor(images[:128], dtype=torch.float32), torch.tensor(classes[:128])


REAL: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid", "sigma_w": math.sqrt(1 / 3)},
    "tanh": {"activation": "tanh", "sigma_w": 1.3, "sigma_b": 0.2},
    "relu": {"activation": "relu", "sigma_w": math.sqrt(2)},
    "silu": {"activation": "silu", "sigma_w": 1.3, "sigma_b": 0.1},
    "plain-batch-norm": {"activation": "relu", "sigma_w": 1.0, "norm": "batch"},
    "plain-layer-norm": {"activation": "relu", "sigma_w": 1.0, "norm": "layer"},
    "residual": {"activation": "tanh", "sigma_w": 1.0, "branch_scale": 0.5},
    "pre-batch-norm": {"activation": "relu", "sigma_w": math.sqrt(2), "norm": "batch", "branch_scale": 1.0},
    "pre-layer-norm": {"activation": "gelu", "sigma_w": 1.5, "norm": "layer", "branch_scale": 1.0},
}


@pytest.mark.parametrize("name", REAL)
def test_narrow_nets_on_real_images_with_a_real_loss_stay_in_the_predicted_interval(name: str) -> None:
    inputs, classes = _digits()
    layers = mlp(depth=20, width=96, inputs=64, outputs=10, **REAL[name])
    gram = (inputs @ inputs.T / 64).numpy()
    count = len(inputs)
    overlap = (gram.sum() - np.trace(gram)) / (count * (count - 1))
    prediction = predict(layers, width=64, input_length=np.diag(gram), input_overlap=float(overlap), batch=count)
    for net in simulate(layers, data=(inputs, classes), nets=2, seed=len(name)).gradients:
        for row, gradient in zip(prediction.layers, net, strict=True):
            low, high = row.ratio_interval(sigmas=4.0)
            assert low * (1 - 1e-6) < math.sqrt(gradient / net[-1]) < high * (1 + 1e-6)
