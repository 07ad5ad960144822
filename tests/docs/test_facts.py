"""The numbers in the README's section on what is recorded, measured, and those that a page gives to reckon with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import gradscope
from gradscope.signals.profiles import depth_profile, parameter_profile
from gradscope.training.build import build
from gradscope.training.config import load_config
from gradscope.training.loop import train

CONFIGS = Path(__file__).parents[2] / "configs"
CHAIN_RULE = Path(__file__).parents[2] / "docs" / "chain-rule.md"


def test_the_page_on_the_chain_rule_has_tanhs_slopes_right() -> None:
    """By the trapezoidal rule, and the example that it reckons out with them, to the digits that it prints."""
    rows = [line.split("|")[1:-1] for line in CHAIN_RULE.read_text("utf-8").splitlines() if line.startswith("|")]
    table = {row[0].strip(): [float(x) for x in row[1:]] for row in rows if row[1].strip()[:1].isdigit() and len(row) == 8}
    sizes, slopes, after = table.values()
    z = np.linspace(-9.0, 9.0, 20_001)
    weight = np.exp(-z * z / 2.0)
    weight = weight / weight.sum()
    for size, slope, tanh in zip(sizes, slopes, after, strict=True):
        t = np.tanh(size * z)
        assert slope == pytest.approx(math.sqrt(weight @ (1.0 - t**2) ** 2), abs=5.1e-3)
        assert tanh == pytest.approx(math.sqrt(weight @ t**2), abs=5.1e-3)
    by = dict(zip(sizes, slopes, strict=True))
    hidden = 0.5**28 * by[0.5] * by[0.2] * by[0.1]
    assert f"{hidden:.1e}" == "3.0e-09"
    assert f"{hidden * 0.5 * math.sqrt(128 / 74):.1e}" == "2.0e-09"


def test_weight_gradients_are_level_where_the_signal_that_flows_back_vanishes() -> None:
    run = train(load_config(CONFIGS / "small-init.yaml", ["training.steps=1", "device=cpu"]))
    weights, signal = parameter_profile(run).values[0], depth_profile(run).values[0]
    assert len(weights) == 20
    assert weights.max() / weights.min() < 1.8
    assert signal[0] == pytest.approx(2.4e-10, rel=0.1)
    assert signal[-1] == pytest.approx(0.084, rel=0.1)


def test_a_healthy_run_with_a_tiny_loss_stays_healthy() -> None:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor((images - images.mean()) / images.std(), dtype=torch.float32)
    y = torch.tensor(classes)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(9):
        linear = nn.Linear(64, 64)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-16)
    with gradscope.watch(model, optimizer, every=10) as scope:
        for _ in range(200):
            rows = torch.randint(len(x), (128,))
            optimizer.zero_grad()
            loss = 1e-6 * nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            scope.step(loss)
    norms = scope.run.grid("parameters", "grad_norm").values
    assert 1e-9 < norms.min() < 1e-7
    assert (model(x).argmax(1) == y).double().mean() > 0.99
    assert scope.check().verdict is gradscope.Verdict.HEALTHY


def test_a_norm_that_underflows_in_float32_is_recorded() -> None:
    config = load_config(CONFIGS / "plain-sigmoid-20.yaml", ["model.depth=50", "training.steps=1", "device=cpu"])
    setup = build(config)
    x, y = setup.first_batch()
    setup.loss(setup.model(x), y).backward()  # type: ignore[no-untyped-call]
    first = next(setup.model.parameters())
    assert first.grad is not None
    assert first.grad.norm() == 0.0
    recorded = train(config).series("parameters", "grad_norm", "layers.0.weight").values[0, 0]
    assert recorded == pytest.approx(1.7e-31, rel=0.3)
