"""The cause of a finding over depth: which factor of the chain rule, where, and whether another gain would mend it."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradscope
from gradscope.detect.blame import blame
from gradscope.record.finding import Finding
from gradscope.record.run import Run
from gradscope.theory import critical_gain
from gradscope.training.architectures.mlp import Options, build
from tests.signals.makers import chain


@cache
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(32, 20, generator=random), torch.randint(0, 3, (32,), generator=random)


def probed(model: nn.Module) -> tuple[Finding, Run]:
    found = gradscope.probe(model, batch(), F.cross_entropy)
    return found.report.findings[0], found.run


def mlp(gain: float, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(Options(**{"depth": 20, "width": 64, "init": {"scheme": "lecun_normal", "gain": gain}, **options}), (20,), 3)


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"\d+\.?\d*", text)]


def test_a_sigmoid_is_to_blame_and_no_gain_would_help() -> None:
    finding, _ = probed(mlp(1.0, activation="sigmoid"))
    whole = -math.log10(finding.value)
    assert finding.cause == (
        f"all {whole:.1f} decades are lost in the sigmoid's derivative; no init scale cures that: gradients are level "
        "at 10.1, where 52% of the units are saturated"
    )


def test_weights_that_are_too_small_are_to_blame_by_as_much_as_theory_says() -> None:
    """Torch's default for a linear layer, without biases: ReLU needs the root of 6 times as much."""
    finding, _ = probed(mlp(3**-0.5, activation="relu", bias=False))
    assert finding.cause is not None
    told, remark = finding.cause.split("; ")
    weights, whole, slopes = numbers(told)
    assert told == f"{weights} of the {whole} decades are lost in the weights, {slopes} in ReLU's derivative"
    assert whole == pytest.approx(-math.log10(finding.value), abs=0.051)
    assert weights + slopes == pytest.approx(whole, abs=0.11)
    assert weights == pytest.approx(18 * math.log10(3**0.5), abs=0.3)  # 18 links; chance moves a link by some per cent
    assert remark.startswith("weights of gain 0.5")
    gain, level, times = numbers(remark)
    assert (gain, level, times) == pytest.approx((3**-0.5, 1.41, 6**0.5), abs=0.06)


def test_weights_that_are_too_large_are_to_blame_although_slopes_work_against_them() -> None:
    finding, _ = probed(mlp(3.0, activation="tanh"))
    assert finding.rule == "exploding-gradients"
    assert finding.cause is not None
    assert re.match(r"8\.\d decades are gained in the weights, 6\.\d are lost again in tanh's derivative; ", finding.cause)
    assert re.search(
        r"; weights of gain 3 are too large: with Tanh gradients are level at 1, 0\.3[34] times that$", finding.cause
    )


class Towers(nn.Module):
    """Two deep nets, each for a half of the input, whose similarities are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (build(Options(depth=15, width=32, activation="sigmoid"), (10,), 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.left(x[:, :10]), dim=1) @ F.normalize(self.right(x[:, 10:]), dim=1).T / 0.2


def test_from_one_tower_to_another_nothing_is_passed_and_nothing_told() -> None:
    torch.manual_seed(0)
    x = batch()[0]
    found = gradscope.probe(Towers(), (x, torch.arange(len(x))), F.cross_entropy)
    finding = found.report.findings[0]
    assert finding.rule == "vanishing-gradients"
    assert finding.cause is None


def test_in_a_net_with_norms_no_gain_is_asked_for() -> None:
    finding, _ = probed(mlp(1.0, activation="relu", norm="batch", depth=40))
    assert finding.cause is not None
    assert "are gained in the batch norm and the weights whose scale it divides out" in finding.cause
    assert finding.cause.endswith("are lost again in ReLU's derivative; no init scale changes that")


def test_residual_blocks_are_to_blame_with_what_a_scale_would_leave() -> None:
    finding, _ = probed(mlp(math.sqrt(2.0), activation="relu", residual=True, depth=40))
    assert finding.cause is not None
    _, gain, _, blocks, within = numbers(finding.cause)
    assert finding.cause.startswith(f"all {math.log10(finding.value):.1f} decades are gained in the residual blocks; ")
    assert gain == pytest.approx(1.0, abs=0.1)
    assert blocks == 38
    assert within == pytest.approx(math.sqrt(math.e), abs=0.1)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(20 if i == 0 else 64, 64) for i in range(12))
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        out: Tensor = self.head(x)
        return out


def test_an_activation_called_as_a_function_is_named_too() -> None:
    finding, run = probed(Functional())
    assert run.catalogue.layers[0].function == "Sigmoid"
    assert finding.cause is not None
    assert "in the sigmoid's derivative" in finding.cause
    assert "no init scale cures that" in finding.cause


def test_one_layer_that_takes_it_all_is_named_and_judged_alone() -> None:
    model = mlp(math.sqrt(2.0), activation="relu")
    with torch.no_grad():
        model.layers[9].weight.mul_(1e-4)
    finding, _ = probed(model)
    assert finding.cause is not None
    assert re.match(r"most of the 4\.\d decades, 4\.\d, are between layers\.8 and layers\.9: ", finding.cause)
    assert "decades are lost in the weights; weights of gain 0.00014 are too small" in finding.cause
    assert re.search(r"level at 1\.41, (9,|1\d,)\d{3} times that$", finding.cause)


class Untold(nn.Module):
    """A sum that no residual block explains stands before each layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(20, 20) for _ in range(16))
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            h = layer(x)
            x = torch.sigmoid(h) * torch.sin(h)
        out: Tensor = self.head(x)
        return out


def test_where_the_record_does_not_show_the_factors_nothing_is_said() -> None:
    finding, _ = probed(Untold())
    assert finding.rule == "vanishing-gradients"
    assert finding.cause is None


def test_an_activation_that_does_not_do_as_theory_expects_is_asked_for_no_gain() -> None:
    """A slope of its own: the manifest has the class alone, and theory takes torch's default of 0.01."""
    model = mlp(0.5, activation="leaky_relu")
    for phi in model.activations:
        phi.negative_slope = 0.9
    finding, _ = probed(model)
    assert finding.cause is not None
    assert re.search(r"5\.\d of the 5\.\d decades are lost in the weights$", finding.cause)


def test_a_change_that_layers_differ_by_anyway_has_no_cause() -> None:
    run = chain({"backward_norm": [[0.5, 1.0, 1.0], [1e-3, 1.0, 1.0]]})
    assert blame(run, "a", "c", [0]) is None
    assert blame(run, "a", "nowhere", [1]) is None
    assert blame(run, "a", "c", [7]) is None


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_at_the_gain_that_is_named_the_gradient_is_level(name: str) -> None:
    found = gradscope.probe(mlp(critical_gain(name), activation=name, width=256), batch(), F.cross_entropy)
    assert found.report.findings == ()
    assert found.reach is not None
    # tanh is on its way to the limit (0.92 per layer at depth 20), gelu leaves its unstable length (up to 1.12).
    assert found.reach.gain == pytest.approx(1.0, abs=0.13)
