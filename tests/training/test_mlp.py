from __future__ import annotations

import math
import pickle
import time
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import mlp
from gradscope.training.options import Activation, Norm

NORMS = get_args(Norm)
RESIDUAL: list[Any] = [False, True, {"branch_scale": "1/sqrt(depth)"}, {"branch_scale": 0.0}]


def network(**options: Any) -> nn.Module:
    return mlp.build(mlp.Options.model_validate({"width": 12, **options}), (2, 3), 4)


def module(model: nn.Module, name: str) -> Any:
    return model.get_submodule(name)


@pytest.mark.parametrize(("activation", "norm"), list(product(get_args(Activation), NORMS)))
def test_every_activation_norm_and_residual_form_trains_a_step(activation: str, norm: str) -> None:
    x, classes = torch.randn(16, 2, 3), torch.randint(4, (16,))
    for residual in RESIDUAL:
        model = network(depth=4, activation=activation, norm=norm, residual=residual, dropout=0.1)
        before = [p.detach().clone() for p in model.parameters()]
        F.cross_entropy(model(x), classes).backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        assert all(p.grad is not None and p.isfinite().all() for p in model.parameters())
        assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
@pytest.mark.parametrize("residual", [False, True])
def test_depth_counts_the_weight_layers_head_included(depth: int, residual: bool) -> None:
    model = network(depth=depth, residual=residual, norm="layer")
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == depth
    assert model(torch.randn(5, 2, 3)).shape == (5, 4)


def test_a_plain_layer_is_the_activation_of_the_norm_of_an_affine_map() -> None:
    model = network(depth=3, activation="tanh", norm="layer")
    x = torch.randn(5, 2, 3)
    h = x.flatten(1)
    for i in range(2):
        h = module(model, f"norms.{i}")(module(model, f"layers.{i}")(h)).tanh()
    assert torch.equal(model(x), module(model, "head")(h))


@pytest.mark.parametrize(
    ("given", "scale"), [(True, 1.0), ({"branch_scale": 0.5}, 0.5), ({"branch_scale": "1/sqrt(depth)"}, 0.5)]
)
def test_a_residual_network_is_a_stem_blocks_a_norm_and_the_head(given: Any, scale: float) -> None:
    model = network(depth=4, activation="silu", norm="rms", residual=given)
    x = torch.randn(5, 2, 3)
    h = module(model, "layers.0")(x.flatten(1))
    for i in (1, 2):
        block = module(model, f"layers.{i}")
        h = h + scale * block.linear(F.silu(block.norm(h)))
    assert torch.allclose(model(x), module(model, "head")(module(model, "norm")(h)), atol=1e-6)


def test_a_branch_scale_of_zero_starts_as_the_identity_and_learns() -> None:
    model = network(depth=4, residual={"branch_scale": 0.0})
    block = module(model, "layers.1")
    h = torch.randn(5, 12)
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert isinstance(block.scale, nn.Parameter)
    assert block.scale.grad.item() != 0.0


def test_modules_are_named_by_what_they_are() -> None:
    plain = [n for n, _ in network(depth=3, norm="batch").named_parameters()]
    assert plain == [
        "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
        "norms.0.weight", "norms.0.bias", "norms.1.weight", "norms.1.bias", "head.weight", "head.bias",
    ]  # fmt: skip
    residual = [n for n, _ in network(depth=3, residual=True, bias=False).named_parameters()]
    assert residual == ["layers.0.weight", "layers.1.linear.weight", "head.weight"]


@pytest.mark.parametrize("residual", [False, True])
def test_a_thousand_layers_build_and_take_a_step_in_seconds(residual: bool) -> None:
    start = time.process_time()
    model = network(depth=1000, width=64, residual=residual, norm="layer")
    F.cross_entropy(model(torch.randn(64, 2, 3)), torch.randint(4, (64,))).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert time.process_time() - start < 10


def test_a_residual_network_of_a_thousand_normed_layers_keeps_its_signal() -> None:
    torch.manual_seed(0)
    model = network(depth=1000, width=64, residual=True, norm="layer")
    y = model(torch.randn(64, 2, 3))
    assert y.isfinite().all()
    assert 0.1 < y.std().item() < 10


def test_dropout_acts_in_training_alone() -> None:
    for residual in (False, True):
        model, x = network(depth=4, dropout=0.5, residual=residual), torch.randn(5, 2, 3)
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_a_model_pickles() -> None:
    for residual in (False, True):
        model, x = network(depth=4, residual=residual), torch.randn(5, 2, 3)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_the_branch_scale_by_depth_is_one_over_its_square_root() -> None:
    assert mlp.Options(depth=16, residual=mlp.Residual(branch_scale="1/sqrt(depth)")).branch_scale == 1 / math.sqrt(16)
    assert mlp.Options().branch_scale is None


def test_a_bias_value_without_biases_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="bias is false"):
        mlp.Options.model_validate({"bias": False, "init": {"bias": 0.1}})
