"""What holds saturated and dead units where they are: biases, or weights of a larger gain than their input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradscope
from gradscope.detect.preactivation import held_by


def held(
    change: Callable[[nn.Module], object], activation: str = "1", phi: type[nn.Module] = nn.Tanh, *, watched: bool = True
) -> str | None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), phi(), nn.Linear(40, 3))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        change(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0) if watched else None
    with gradscope.watch(model, optimizer, every=1) as scope:
        loss: Tensor = model(torch.randn(64, 30)).square().sum()
        loss.backward()
        if optimizer:
            optimizer.step()
        scope.step(loss)
    return held_by(scope.run, activation, 0)


def test_weights_of_a_large_gain_are_named_with_what_they_make_of_their_input() -> None:
    told = held(lambda model: model[0].weight.mul_(9.0))
    assert told is not None
    assert told.startswith("weights of gain 9, those of 0, drive what reaches it to ")
    assert "9 in root mean square" in told or "8.9 in root mean square" in told or "9.1 in root mean square" in told


def test_biases_are_named_where_they_hold_most_of_it() -> None:
    told = held(lambda model: model[0].bias.fill_(-12.0), phi=nn.ReLU)
    assert told == "the biases of 0, 12 in root mean square, hold what reaches it at -12 on average"
    mixed = held(lambda model: model[0].bias.copy_(6.0 * torch.sign(torch.randn(40))))
    assert mixed is not None
    assert mixed.startswith("the biases of 0, 6 in root mean square, hold what reaches it at 6")


def test_without_an_optimizer_no_weights_are_recorded_and_what_reaches_it_is_said() -> None:
    told = held(lambda model: model[0].bias.fill_(-12.0), phi=nn.ReLU, watched=False)
    assert told == "what reaches it from 0 lies at -12 on average"


@pytest.mark.parametrize(("phi", "activation"), [(nn.ReLU, "1"), (nn.Tanh, "nowhere")], ids=["rectifier", "unknown"])
def test_nothing_is_said_of_a_rectifier_around_0_or_an_unknown_layer(phi: type[nn.Module], activation: str) -> None:
    assert held(lambda model: model[0].weight.mul_(0.5), activation, phi) is None
