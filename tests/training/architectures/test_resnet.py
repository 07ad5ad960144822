from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import resnet
from tests.training.architectures.stations import small, trunk, watched


def network(**options: Any) -> Any:
    return resnet.build(resnet.Options.model_validate({"depth": 14, "width": 4, **options}), (2, 8, 8), 5)


class Block(nn.Module):
    """A basic block as one writes it with torch.nn."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool, residual: bool, project: bool) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not norm)
        self.norm1 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=not norm)
        self.norm2 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.residual, self.widens = residual, inputs != outputs
        if residual and project and self.widens:
            last = nn.BatchNorm2d(outputs) if norm else nn.Identity()
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=not norm), last)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(h)))))
        if self.residual and hasattr(self, "shortcut"):
            y = y + self.shortcut(h)
        elif self.residual and self.widens:
            kept = h[:, :, ::2, ::2]
            y = y + torch.cat([kept, torch.zeros_like(kept)], dim=1)
        elif self.residual:
            y = y + h
        return F.relu(y)


FORMS = list(product(["batch", "none"], [(True, "identity"), (True, "projection"), (False, "identity")]))


@pytest.mark.parametrize(("norm", "form"), FORMS)
def test_forward_and_backward_are_those_of_the_network_written_with_torch(norm: str, form: tuple[bool, str]) -> None:
    # In float64, where the order of the sums changes the 15th digit alone.
    residual, shortcut = form
    torch.manual_seed(0)
    model = network(norm=norm, residual=residual, shortcut=shortcut).double()
    kind = {"norm": norm == "batch", "residual": residual, "project": shortcut == "projection"}
    widths = [4, 4, 4, 8, 8, 16, 16]
    reference = nn.Module()
    reference.stem = nn.Conv2d(2, 4, 3, padding=1, bias=norm == "none")
    reference.norm = nn.BatchNorm2d(4) if norm == "batch" else nn.Identity()
    reference.layers = nn.Sequential(*(Block(i, o, **kind) for i, o in pairwise(widths)))
    reference.head = nn.Linear(16, 5)
    reference.double().load_state_dict(model.state_dict())

    x, classes = torch.randn(6, 2, 8, 8).double(), torch.randint(5, (6,))
    F.cross_entropy(model(x), classes).backward()
    h = reference.layers(F.relu(reference.norm(reference.stem(x))))
    y = reference.head(F.adaptive_avg_pool2d(h, 1).flatten(1))
    F.cross_entropy(y, classes).backward()

    assert torch.allclose(model(x), y, rtol=1e-10, atol=1e-12)
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert set(theirs) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        assert torch.allclose(parameter.grad, theirs[name], rtol=1e-10, atol=1e-12), name  # type: ignore[arg-type]


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_a_network_for_cifar_has_the_size_of_the_paper(depth: int, parameters: int) -> None:
    # Table 6 of the paper: 0.27 M and 0.85 M, without the gains and offsets of shortcuts, of which option A has none.
    model = resnet.build(resnet.Options(depth=depth), (3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("depth", [8, 20])
def test_depth_counts_the_weight_layers_of_the_longest_path(depth: int) -> None:
    model = network(depth=depth, norm="none")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


def test_the_plain_twin_has_the_same_weights() -> None:
    plain, residual = (network(residual=r).state_dict() for r in (False, True))
    assert {k: v.shape for k, v in plain.items()} == {k: v.shape for k, v in residual.items()}


def test_a_gain_of_zero_makes_a_block_its_shortcut() -> None:
    model, h = network(zero_gain=True), torch.rand(3, 4, 8, 8)
    assert torch.equal(model.layers[0](h), h)
    assert torch.equal(network().layers[0].norm2.weight, torch.ones(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 18}, r"depth\n  not 6n \+ 2 \(got 18; expected 14 or 20\)"),
        ({"zero_gain": True, "norm": "none"}, "zero_gain"),
        ({"zero_gain": True, "residual": False}, "zero_gain"),
        ({"shortcut": "projection", "residual": False}, "shortcut"),
        ({"init": {"bias": 0.1}}, "init.bias"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_blocks_are_the_trunk_of_the_residual_network_and_every_convolution_that_of_the_plain_one() -> None:
    residual, plain = (watched(small({"kind": "resnet", "depth": 8, "width": 4, "residual": r}))[0] for r in (True, False))
    inside = [name for name in trunk(residual) if "conv" in name]
    assert not inside
    assert trunk(plain) == ["stem", *(f"layers.{i}.conv{j}" for i in range(3) for j in (1, 2)), "head"]
    for run in (residual, plain):
        assert trunk(run)[0] == "stem"
        assert trunk(run)[-1] == "head"
