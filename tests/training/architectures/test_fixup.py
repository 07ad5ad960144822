"""Residual networks without norms: Fixup's start, and branches whose scale is learned from 0."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import resnet
from gradscope.training.build import build
from gradscope.training.trainer import Trainer
from tests.training.architectures.stations import small, watched

ROWS = {"name": "digits", "layout": "rows", "batch_size": 16}
FIXUP: dict[str, dict[str, Any]] = {
    "mlp": {"depth": 12, "width": 8},
    "cnn": {"depth": 12, "width": 4},
    "resnet": {"depth": 14, "width": 4, "norm": "none"},
    "transformer": {"layers": 3, "width": 8, "feedforward": 8, "norm": "none"},
}
BRANCHES = {"mlp": 10, "cnn": 10, "resnet": 6, "transformer": 6}


def fixed(kind: str, *, fixup: bool = True, **sections: Any) -> Any:
    model = {"kind": kind, **FIXUP[kind], "residual": {"fixup": fixup}}
    return build(small(model, ROWS if kind == "transformer" else None, **sections))


class FixupBlock(nn.Module):
    """A basic block as its authors write it (their code for CIFAR, FixupBasicBlock), the shortcut by option A."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = (nn.Parameter(torch.zeros(1)) for _ in range(4))
        self.scale = nn.Parameter(torch.ones(1))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1 if inputs == outputs else 2, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.widens = inputs != outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.conv1(x + self.bias1a) + self.bias1b)
        out = self.conv2(out + self.bias2a) * self.scale + self.bias2b
        if self.widens:
            x = x[:, :, ::2, ::2]
            x = torch.cat([x, torch.zeros_like(x)], dim=1)
        return F.relu(out + x)


NAMES = {
    "shift1.bias": "bias1a",
    "norm1.bias": "bias1b",
    "shift2.bias": "bias2a",
    "norm2.bias": "bias2b",
    "scale": "scale",
    "conv1.weight": "conv1.weight",
    "conv2.weight": "conv2.weight",
}


def test_forward_and_backward_of_a_block_are_those_of_its_authors() -> None:
    torch.manual_seed(0)
    options = resnet.Options.model_validate({"depth": 14, "width": 4, "norm": "none", "residual": {"fixup": True}})
    for block, widths in zip(resnet.build(options, (3, 8, 8), 5).blocks[1:3], [(4, 4), (4, 8)], strict=True):
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.3)
        theirs = FixupBlock(*widths)
        given = block.state_dict()
        assert set(given) == set(NAMES)
        theirs.load_state_dict({NAMES[k]: v.reshape(theirs.state_dict()[NAMES[k]].shape) for k, v in given.items()})
        x = torch.randn(3, 4, 8, 8)
        ours, reference = block(x), theirs(x)
        assert torch.allclose(ours, reference, rtol=1e-5, atol=1e-6)
        ours.square().sum().backward()
        reference.square().sum().backward()
        expected = dict(theirs.named_parameters())
        for name, parameter in block.named_parameters():
            gradient = expected[NAMES[name]].grad
            assert gradient is not None
            scale = gradient.abs().max().item()
            assert torch.allclose(parameter.grad, gradient.reshape(parameter.shape), rtol=1e-4, atol=1e-5 * scale), name


@pytest.mark.parametrize("kind", FIXUP)
def test_a_start_by_fixup_answers_zero_whose_cross_entropy_is_that_of_chance(kind: str) -> None:
    setup = fixed(kind)
    x, classes = setup.first_batch()
    y = setup.model(x)
    assert not y.any()
    assert setup.loss(y, classes).item() == pytest.approx(torch.tensor(10.0).log().item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["resnet", "transformer"])
def test_fixup_scales_the_first_layers_of_a_branch_by_the_number_of_branches(kind: str) -> None:
    drawn, scaled = (dict(fixed(kind, fixup=f).model.named_parameters()) for f in (False, True))
    first = ("conv1.weight", "value.weight", "hidden.weight")
    last = ("conv2.weight", ".out.weight")
    seen = 0
    for name, parameter in scaled.items():
        if name.endswith(last):
            assert not parameter.any()
        elif name.endswith(first):  # m = 2 layers a branch: L^(-1 / (2m - 2)) = L^(-1/2)
            assert torch.allclose(parameter, drawn[name] * BRANCHES[kind] ** -0.5, rtol=1e-6)
            seen += 1
        elif name.endswith(("stem.weight", "query.weight", "embedding.weight")):
            assert torch.equal(parameter, drawn[name])
    assert seen == BRANCHES[kind]


@pytest.mark.parametrize("kind", FIXUP)
def test_every_parameter_of_a_fixup_network_learns_from_the_third_step_on(kind: str) -> None:
    # The head starts at 0 and lets nothing through in the first step, the branches' last layers in the second.
    trainer = Trainer(fixed(kind, optimizer={"name": "sgd", "lr": 0.1}, training={"steps": 3}))
    for step in range(3):
        trainer.step(step)
    for name, parameter in trainer.model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any() or name.endswith("key.bias"), name  # softmax knows no shift of all its inputs


@pytest.mark.parametrize("kind", FIXUP)
def test_a_watched_step_of_a_fixup_network_is_recorded_without_notes(kind: str) -> None:
    model = {"kind": kind, **FIXUP[kind], "residual": {"fixup": True}}
    run, _ = watched(small(model, ROWS if kind == "transformer" else None))
    assert not run.manifest.notes


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1.0), ("1/sqrt(depth)", 6**-0.5), (0.5, 0.5)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_branches_of_a_resnet_have_the_scale_that_was_asked_for(scale: Any, expected: float, norm: str) -> None:
    options = {"depth": 14, "width": 4, "norm": norm, "residual": {"branch_scale": scale}}
    block, h = resnet.build(resnet.Options.model_validate(options), (2, 8, 8), 5).blocks[1], torch.randn(3, 4, 8, 8)
    branch = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(h)))))
    assert torch.allclose(block(h), F.relu(h + expected * branch), rtol=1e-5, atol=1e-6)


def test_a_branch_scale_of_zero_makes_a_resnet_skipinit() -> None:
    options = {"depth": 8, "width": 4, "norm": "none", "residual": {"branch_scale": 0.0}}
    block, h = resnet.build(resnet.Options.model_validate(options), (2, 8, 8), 5).blocks[0], torch.rand(3, 4, 8, 8)
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.scale.grad.item() != 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mlp", "norm": "layer", "residual": {"fixup": True}}, "Fixup is for networks without norms"),
        ({"kind": "resnet", "residual": {"fixup": True}}, "Fixup is for networks without norms"),
        ({"kind": "transformer", "residual": {"fixup": True}}, "Fixup is for networks without norms"),
        ({"kind": "cnn", "residual": {"fixup": True, "branch_scale": 0.5}}, "Fixup learns the scale of a branch"),
        ({"kind": "mlp", "residual": {"fixup": True}, "init": {"scheme": "lsuv"}}, "lsuv and Fixup both scale"),
        ({"kind": "resnet", "norm": "none", "residual": {"fixup": True}, "init": {"bias": 1.0}}, "convolutions under Fixup"),
    ],
    ids=json.dumps,
)
def test_what_fixup_does_not_go_together_with_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(change, ROWS if change["kind"] == "transformer" else None)
