from __future__ import annotations

import numpy as np
import pytest
import torch

from gradscope.errors import UsageError
from gradscope.theory import Activation, Linear, Normalise, Residual
from gradscope.theory.layers import Signal, needs_overlap, walk


def test_batch_norm_leaves_long_samples_longer_than_short_ones() -> None:
    torch.manual_seed(0)
    scale = torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(40)[:, None]
    x = scale * torch.randn(120, 400)
    lengths = x.square().mean(1).double().numpy()
    layers = (Linear(400, 800, 1.5), Normalise("batch"), Activation("tanh"), Linear(800, 800, 1.5), Normalise("batch"))
    signal = walk(layers, Signal(lengths, 0.0, 400), 120)[-1].signal
    for layer in layers:
        if isinstance(layer, Linear):
            x = x @ torch.randn(layer.fan_in, layer.fan_out) * (layer.sigma_w / layer.fan_in**0.5)
        elif isinstance(layer, Normalise):
            x = torch.nn.functional.batch_norm(x, None, None, training=True)
        else:
            x = torch.tanh(x)
    simulated, predicted = (v.reshape(3, 40).mean(1) for v in (x.square().mean(1).numpy(), signal.lengths))
    assert predicted[2] > 1.5 * predicted[0]
    np.testing.assert_allclose(predicted, simulated, rtol=0.05)


def test_batch_norm_of_samples_that_are_all_the_same_passes_nothing() -> None:
    passage = Normalise("batch").through(Signal(np.array([2.0]), 2.0, 10), 16)
    assert (passage.signal.length, float(passage.back(np.ones(1))[0])) == (0.0, 0.0)


def test_the_overlap_of_samples_is_followed_only_where_a_batch_norm_needs_it() -> None:
    norm = Normalise("batch")
    assert needs_overlap((Linear(4, 4, 1.0), Residual((norm, Linear(4, 4, 1.0)))))
    assert not needs_overlap((Linear(4, 4, 1.0), Normalise("layer"), Residual((Linear(4, 4, 1.0),))))
    with pytest.raises(UsageError, match="overlap"):
        norm.through(Signal(np.array([1.0]), float("nan"), 4), 16)


def test_the_overlap_goes_through_an_activation_as_the_arc_kernel_has_it() -> None:
    signal = walk((Linear(64, 64, 1.0), Activation("relu")), Signal(np.array([1.0]), 0.0, 64), None)[-1].signal
    assert signal.overlap == pytest.approx(1 / (2 * np.pi))


def test_eps_matters_where_the_signal_is_as_small() -> None:
    passage = Normalise("layer", eps=1e-5).through(Signal(np.array([1e-5]), float("nan"), 64), None)
    assert passage.signal.length == pytest.approx(0.5)
    assert float(passage.back(np.ones(1))[0]) == pytest.approx(0.5e5)
