"""The gradient through time, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradscope
from gradscope.signals.through_time import time_ratio


class Loop(nn.Module):
    """A recurrent net written by hand; with ``every_step`` each state has a loss of its own."""

    def __init__(self, *, every_step: bool) -> None:
        super().__init__()
        self.inward, self.across, self.head = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.every_step = every_step

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inward(x[:, 0]))
        states = [h]
        for t in range(1, x.shape[1]):
            h = torch.tanh(self.inward(x[:, t]) + self.across(h))
            states.append(h)
        return self.head(torch.stack(states, 1).sum(1) if self.every_step else h)


def layers(*, every_step: bool) -> list[str]:
    torch.manual_seed(0)
    model = Loop(every_step=every_step)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for _ in range(3):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(torch.randn(8, 9, 3)), torch.randint(0, 2, (8,)))
            loss.backward()
            optimizer.step()
            scope.step(loss)
    return [profile.layer for profile in time_ratio(scope.run)]


def test_a_loop_is_told_once_by_its_recurrent_weight() -> None:
    assert layers(every_step=False) == ["across"]


def test_a_loop_whose_states_have_losses_of_their_own_is_told_by_the_modules_that_it_calls() -> None:
    with pytest.warns(match="losses of their own"):
        assert layers(every_step=True) == ["inward", "across"]
