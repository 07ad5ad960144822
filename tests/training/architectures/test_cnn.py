from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.errors import ConfigError
from gradscope.training.architectures import cnn
from gradscope.training.config import load_config
from tests.training.architectures.stations import small, trunk, watched


def network(**options: Any) -> Any:
    return cnn.build(cnn.Options.model_validate({"width": 6, **options}), (2, 8, 8), 4)


def images() -> torch.Tensor:
    return torch.randn(5, 2, 8, 8)


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
@pytest.mark.parametrize("residual", [False, True])
def test_depth_counts_convolutions_and_the_head(depth: int, residual: bool) -> None:
    model = network(depth=depth, residual=residual, norm="batch")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth
    assert model(images()).shape == (5, 4)


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_a_plain_network_is_torchs_convolutions_norms_and_poolings_one_after_the_other(norm: str) -> None:
    model, x = network(depth=5, norm=norm, pool_every=2, activation="tanh", kernel_size=5), images()
    norms = {"none": lambda: nn.Identity(), "batch": lambda: nn.BatchNorm2d(6), "group": lambda: nn.GroupNorm(1, 6)}
    reference = nn.Sequential()
    for i in range(4):
        layer = nn.Sequential(nn.Conv2d(6 if i else 2, 6, 5, padding="same"), norms[norm](), nn.Tanh())
        layer[0].load_state_dict(model.layers[i].conv.state_dict())
        reference.extend(layer)
        if i == 1:  # after the fourth, the last, there is none
            reference.append(nn.MaxPool2d(2))
    y = F.linear(reference(x).mean((2, 3)), model.head.weight, model.head.bias)
    assert torch.allclose(model(x), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("given", "scale"), [(True, 1.0), ({"branch_scale": "1/sqrt(depth)"}, 0.5)])
def test_a_residual_network_is_a_stem_blocks_a_norm_and_the_head(given: Any, scale: float) -> None:
    model, h = network(depth=4, residual=given, norm="group", activation="silu"), images()
    y = model(h)
    h = model.layers[0](h)
    for block in model.layers[1:]:
        h = h + scale * block.conv(F.silu(block.norm(h)))
    assert torch.allclose(y, model.head(model.norm(h).mean((2, 3))), rtol=1e-5, atol=1e-6)


def test_a_branch_scale_of_zero_starts_as_the_identity_and_learns() -> None:
    block = network(depth=3, residual={"branch_scale": 0.0}).layers[1]
    h = torch.randn(5, 6, 8, 8)
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.scale.grad.item() != 0.0


def test_the_head_reads_every_pixel_when_asked_to() -> None:
    model = network(depth=5, pool_every=2, head="flatten")
    assert model.head.in_features == 6 * 4 * 4
    assert model(images()).shape == (5, 4)


def test_every_layer_of_a_plain_network_and_the_stream_of_a_residual_one_are_its_trunk() -> None:
    plain, _ = watched(small({"kind": "cnn", "depth": 4, "width": 4}))
    assert trunk(plain) == [*(f"layers.{i}.conv" for i in range(3)), "head"]
    residual, _ = watched(small({"kind": "cnn", "depth": 4, "width": 4, "residual": True}))
    assert trunk(residual) == ["layers.0", "layers.1", "layers.2", "head"]


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an odd number"):
        network(kernel_size=4)


def test_more_poolings_than_an_image_has_halves_are_refused_in_place(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("model: {kind: cnn, depth: 10, pool_every: 2}\ndata: {name: digits}\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:1:43: model.pool_every: 4 poolings leave nothing of an image of 8 x 8"):
        load_config(path)
    assert load_config(path, ["model.depth=9"]).model.kind == "cnn"
