from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gradscope.training.architectures import highway
from tests.training.architectures.stations import small, trunk, watched


def network(**options: Any) -> Any:
    return highway.build(highway.Options.model_validate({"width": 6, **options}), (2, 3), 4)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
def test_a_layer_mixes_its_transform_and_its_input_by_the_gate(norm: str) -> None:
    model, x = network(depth=4, norm=norm), torch.randn(5, 2, 3)
    h = model.layers[0](x.flatten(1))
    for layer in model.layers[1:]:
        gate = 1 / (1 + (-layer.gate(h)).exp())
        h = h + gate * (layer.norm(layer.linear(h)).tanh() - h)
    assert torch.allclose(model(x), model.head(h), atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_depth_counts_stem_layers_and_head(depth: int) -> None:
    model = network(depth=depth)
    assert len(model.layers) == depth - 1
    assert model(torch.randn(5, 2, 3)).shape == (5, 4)


def test_closed_gates_pass_the_input_on_and_open_ones_transform_it() -> None:
    h = torch.randn(5, 6)
    closed, opened = (network(depth=3, gate_bias=bias).layers[1] for bias in (-60.0, 60.0))
    assert torch.allclose(closed(h), h, atol=1e-6)
    assert torch.allclose(opened(h), opened.linear(h).tanh(), atol=1e-6)


def test_gates_alone_start_from_the_gate_bias() -> None:
    model = network(depth=4, gate_bias=-3.0, init={"bias": 0.5})
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert torch.equal(module.bias, torch.full_like(module.bias, -3.0 if name.endswith("gate") else 0.5))


def test_dropout_acts_in_training_alone() -> None:
    model, x = network(depth=4, dropout=0.5, gate_bias=0.0), torch.randn(5, 2, 3)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_the_stream_is_the_trunk() -> None:
    run, _ = watched(small({"kind": "highway", "depth": 4, "width": 6}))
    assert trunk(run) == ["layers.0", "layers.1", "layers.2", "head"]
