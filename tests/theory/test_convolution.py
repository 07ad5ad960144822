"""Convolutions of theory against torch's: place by place, with what is lost at the border."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory import Activation, Axis, Convolution, Layer, Linear, Mean, Normalise, Residual, predict
from tests.theory.simulation import torch_activation

CHANNELS, SIZE = 128, 8
PER_LAYER = 0.035
"""Of a squared norm's factor per layer. The standard error of 36 dense nets of 128 units over 5 layers is
sqrt(5 / (128 * 36 * 5)) = 1.5 % (Hanin 2018). The signal's worst lies there, for what a net's places have in common; the
gradient's is within 1 %, as places that differ from each other are many more units.
"""
SAME = (Axis(3, 1, 1, 1), Axis(3, 1, 1, 1))


def conv(sigma_w: float, sigma_b: float = 0.0, *, channels_in: int = CHANNELS, axes: tuple[Axis, ...] = SAME) -> Convolution:
    return Convolution(channels_in, CHANNELS, sigma_w, axes, sigma_b)


def images(*sizes: int) -> Tensor:
    """Eight of three channels, whose brightness differs from place to place and from image to image."""
    random = torch.Generator().manual_seed(5)
    x = torch.randn(8, 3, *sizes, generator=random) * torch.linspace(0.2, 2.0, sizes[-1])
    return x * torch.linspace(0.5, 1.5, 8).view(8, *[1] * (x.dim() - 1))


def through(layer: Layer, h: Tensor, random: torch.Generator) -> Tensor:
    if isinstance(layer, Convolution):
        taps = [a.taps for a in layer.axes]
        w = torch.randn(layer.channels_out, layer.channels_in, *taps, generator=random)
        b = layer.sigma_b * torch.randn(layer.channels_out, generator=random)
        padded = F.pad(h, [side for a in reversed(layer.axes) for side in (a.before, a.after)])
        options: dict[str, Any] = {"stride": [a.stride for a in layer.axes], "dilation": [a.dilation for a in layer.axes]}
        scale = layer.sigma_w / math.sqrt(layer.channels_in * math.prod(taps))
        return (F.conv1d if len(taps) == 1 else F.conv2d)(padded, scale * w, b, **options)
    if isinstance(layer, Residual):
        branch = h
        for inner in layer.branch:
            branch = through(inner, branch, random)
        return h + layer.scale * branch
    if isinstance(layer, Linear):
        w = torch.randn(layer.fan_out, layer.fan_in, generator=random)
        return h.flatten(1) @ (layer.sigma_w / math.sqrt(layer.fan_in) * w).T
    if isinstance(layer, Normalise):
        return F.group_norm(h, 1, eps=layer.eps)
    if isinstance(layer, Mean):
        return h.flatten(2).mean(2)
    assert isinstance(layer, Activation)
    return torch_activation(layer.name)(h)


def drawn(layers: Sequence[Layer], x: Tensor, seed: int) -> list[Tensor]:
    """The outputs of all layers of one net, each with its gradient under a random one of the last."""
    random, h, outputs = torch.Generator().manual_seed(seed), x.clone().requires_grad_(), []
    for layer in layers:
        h = through(layer, h, random)
        h.retain_grad()
        outputs.append(h)
    h.backward(torch.randn(h.shape, generator=random))
    return outputs


def errors(layers: Sequence[Layer], x: Tensor, nets: int = 36) -> tuple[float, float]:
    """The worst error of a squared gradient and of a mean square from the first layer to any later, as a mean per layer."""
    gradients, lengths = [], []
    for seed in range(nets):
        outputs = drawn(layers, x, seed)
        gradients.append([float(o.grad.double().square().sum()) for o in outputs if o.grad is not None])
        lengths.append([float(o.detach().double().square().mean()) for o in outputs])
    rows = predict(layers, width=3, input_length=x.double().square().mean(1).numpy()).layers
    g, q = np.sum(gradients, axis=0), np.mean(lengths, axis=0)
    predicted = np.array([r.log_ratio for r in rows])
    backward = np.abs(np.log(g[0] / g) - 2.0 * (predicted[0] - predicted))
    forward = np.abs(np.log(q) - 2.0 * np.log([r.rms for r in rows]))
    matrices = np.cumsum([isinstance(x, Convolution | Linear | Residual) for x in layers])
    far = matrices > 4
    return float((backward[far] / matrices[far]).max()), float(np.nanmax(forward[far] / matrices[far]))


def plain(activation: str, sigma_w: float, sigma_b: float = 0.0, depth: int = 10) -> list[Layer]:
    phi = Activation(activation)
    first = conv(sigma_w, sigma_b, channels_in=3)
    return [first, *[x for _ in range(depth - 1) for x in (phi, conv(sigma_w, sigma_b))], phi]


RELU = Activation("relu")
HEAD = Linear(CHANNELS * SIZE**2, CHANNELS, 1.0)
NETS: dict[str, list[Layer]] = {
    "linear": [*plain("identity", 1.0), HEAD],
    "relu": [*plain("relu", math.sqrt(2)), HEAD],
    "tanh": [*plain("tanh", 1.0), HEAD],
    "tanh-chaotic-with-bias": [*plain("tanh", 2.0, 0.2), HEAD],
    "gelu-with-bias": [*plain("gelu", 1.6, 0.1), HEAD],
    "sigmoid": [*plain("sigmoid", 1.0), HEAD],
    "mean": [*plain("tanh", 1.3, 0.1), Mean(), Linear(CHANNELS, CHANNELS, 1.0)],
    "group-norm": [
        conv(1.0, channels_in=3),
        *[x for _ in range(8) for x in (Normalise("layer"), Activation("tanh"), conv(1.0))],
        Mean(),
        Linear(CHANNELS, 10, 1.0),
    ],
    "residual": [conv(1.0, channels_in=3), *[Residual((RELU, conv(math.sqrt(2))), 0.5)] * 12, HEAD],
    "pre-norm": [conv(1.0, channels_in=3), *[Residual((Normalise("layer"), RELU, conv(math.sqrt(2))))] * 12, HEAD],
    "wide-taps": [
        conv(1.4, channels_in=3, axes=(Axis(5, 1, 2, 2), Axis(5, 1, 2, 2))),
        *[x for _ in range(6) for x in (RELU, conv(1.4, axes=(Axis(5, 1, 2, 2), Axis(3, 1, 2, 2, dilation=2))))],
        RELU,
        HEAD,
    ],
}


@pytest.mark.parametrize("name", NETS)
def test_signal_and_gradient_of_an_image_go_as_predicted(name: str) -> None:
    backward, forward = errors(NETS[name], images(SIZE, SIZE))
    assert backward < PER_LAYER
    assert forward < PER_LAYER


def test_strides_and_images_without_zeros_around_them_do_too() -> None:
    halved = (Axis(3, 2, 1, 1), Axis(3, 2, 1, 1))
    bare = (Axis(3), Axis(2))
    layers: list[Layer] = [conv(1.4, channels_in=3, axes=bare)]
    for axes in (SAME, halved, bare, SAME, halved, SAME):
        layers += [RELU, conv(1.4, axes=axes)]
    backward, forward = errors([*layers, RELU, Mean(), Linear(CHANNELS, CHANNELS, 1.0)], images(18, 17))
    assert backward < PER_LAYER
    assert forward < PER_LAYER


def test_a_sequence_has_one_axis() -> None:
    axis = (Axis(3, 1, 1, 1),)
    layers = [conv(1.0, channels_in=3, axes=axis), *[x for _ in range(8) for x in (Activation("tanh"), conv(1.0, axes=axis))]]
    assert max(errors(layers, images(20))) < PER_LAYER


def test_deep_inside_a_layer_loses_what_the_border_takes() -> None:
    """The largest eigenvalue of the mean over three taps of n places in a row is (1 + 2 cos(pi / (n + 1))) / 3."""
    for size in (4, 8):
        gains = predict(plain("identity", 1.0, depth=60), width=3, input_length=np.ones((1, size, size))).station_gains()
        per_axis = (1.0 + 2.0 * math.cos(math.pi / (size + 1))) / 3.0
        assert gains[10] ** 2 == pytest.approx(per_axis**2, rel=1e-6)


def test_where_no_place_is_beside_the_border_it_is_a_fully_connected_layer() -> None:
    """One tap reads one place; and many places have next to no border."""
    dense = [Linear(3, 64, 1.3, 0.1), *[x for _ in range(6) for x in (Activation("tanh"), Linear(64, 64, 1.3, 0.1))]]
    expected = predict(dense, width=3, input_length=1.0)
    for axis, size, far in ((Axis(1), 4, 1e-9), (Axis(3, 1, 1, 1), 400, 0.02)):
        layers = [
            Convolution(3, 64, 1.3, (axis,), 0.1),
            *[x for _ in range(6) for x in (Activation("tanh"), Convolution(64, 64, 1.3, (axis,), 0.1))],
        ]
        found = predict(layers, width=3, input_length=np.ones((2, size)))
        assert found.layers[0].backward_ratio == pytest.approx(expected.layers[0].backward_ratio, rel=max(far, 0.01))
        assert found.layers[-1].rms == pytest.approx(expected.layers[-1].rms, rel=max(far, 0.01))
        assert found.layers[0].ratio_spread == pytest.approx(expected.layers[0].ratio_spread, rel=0.02)


@pytest.mark.parametrize("size", [2, 8])
def test_chance_is_no_more_than_in_a_layer_of_as_many_units_as_channels(size: int) -> None:
    """Down to 2 x 2 places, where each place has the others under its taps; 40 nets tell a deviation to a tenth."""
    narrow = [Convolution(c, 16, math.sqrt(2), SAME) for c in (3, *[16] * 9)]
    layers = [x for c in narrow for x in (c, RELU)][:-1]
    x, logs = images(size, size)[:1], []
    for seed in range(40):
        outputs = drawn(layers, x, seed)
        first, last = (o.grad.double().norm().item() for o in (outputs[0], outputs[-1]) if o.grad is not None)
        logs.append(math.log(first / last))
    row = predict(layers, width=3, input_length=x.double().square().mean(1).numpy()).layers[0]
    assert np.std(logs, ddof=1) < 0.9 * row.ratio_spread
    assert row.log_ratio + row.ratio_drift < np.mean(logs) < row.log_ratio + 3 * row.ratio_spread / math.sqrt(40)


@pytest.mark.parametrize(
    "axis", [Axis(3, 1, 1, 1), Axis(3, 2, 1, 1), Axis(2), Axis(4, 1, 1, 2), Axis(3, 2, 3, 0, dilation=2)], ids=str
)
def test_an_axis_reads_what_torch_reads(axis: Axis) -> None:
    places = torch.eye(9, dtype=torch.float64)[:, None]
    ones = torch.ones(1, 1, axis.taps, dtype=torch.float64) / axis.taps
    read = F.conv1d(F.pad(places, (axis.before, axis.after)), ones, stride=axis.stride, dilation=axis.dilation)
    np.testing.assert_allclose(axis.matrix(9), read[:, 0].T.numpy())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="takes no such signal"):
        predict([conv(1.0)], width=CHANNELS, input_length=1.0)
    with pytest.raises(UsageError, match="do not fit"):
        predict([conv(1.0, axes=(Axis(9), Axis(3)))], width=CHANNELS, input_length=np.ones((1, 8, 8)))
    with pytest.raises(UsageError, match="a matrix of 5 inputs takes 3 units at 16 places"):
        predict([Linear(5, 2, 1.0)], width=3, input_length=np.ones((1, 4, 4)))
    with pytest.raises(UsageError, match="finite scales"):
        conv(-1.0)
    with pytest.raises(UsageError, match="channels on both sides"):
        Convolution(0, 2, 1.0, SAME)
    with pytest.raises(UsageError, match="place by place"):
        predict([Residual((conv(1.0, axes=(Axis(3), Axis(3))),))], width=CHANNELS, input_length=np.ones((1, 8, 8)))
    with pytest.raises(UnsupportedError, match="what a mean is taken over"):
        predict([Mean()], width=3)
    with pytest.raises(UnsupportedError, match="the length of what relu takes"):
        predict([Mean(), Linear(3, 3, 1.0), RELU], width=3, input_length=np.ones((1, 4, 4)))
    with pytest.raises(UnsupportedError, match="batch norm over images"):
        predict([Normalise("batch")], width=3, input_length=np.ones((1, 4, 4)))
