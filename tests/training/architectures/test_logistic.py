from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import logistic
from gradscope.training.build import build
from gradscope.training.trainer import Trainer
from tests.training.architectures.stations import small, trunk, watched


def network(**options: Any) -> nn.Module:
    return logistic.build(logistic.Options.model_validate(options), (2, 3), 4)


def test_the_network_is_one_linear_layer_of_the_flattened_row() -> None:
    model, x = network(), torch.randn(5, 2, 3)
    weight, bias = model.parameters()
    assert torch.equal(model(x), F.linear(x.flatten(1), weight, bias))


def test_its_only_station_is_the_head() -> None:
    run, _ = watched(small({"kind": "logistic"}))
    assert [layer.name for layer in run.manifest.catalogue.layers] == ["head"]
    assert trunk(run) == ["head"]


def test_a_bias_is_left_out_when_it_is_not_wanted() -> None:
    assert [name for name, _ in network(bias=False).named_parameters()] == ["head.weight"]
    with pytest.raises(ValueError, match="bias is false"):
        network(bias=False, init={"bias": 0.1})


def test_gradient_descent_on_numbers_reaches_the_closed_form_of_least_squares() -> None:
    given = small(
        {"kind": "logistic"},
        {"name": "diabetes", "batch_size": 354, "validation": 0.2},
        loss="mse",
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9},
        training={"steps": 3000},
    )
    trainer = Trainer(build(given))
    for step in range(3000):
        loss, accuracy = trainer.step(step)
        assert accuracy is None
    train = trainer.setup.data.train
    x = torch.cat([train.x, torch.ones(len(train), 1)], dim=1).double()
    best = (x @ torch.linalg.lstsq(x, train.y.double()).solution - train.y).square().mean().item()
    assert loss.item() == pytest.approx(best, rel=1e-4)
    assert trainer.validate()[1] is None
