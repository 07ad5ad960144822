"""Small tensors that wait together: one room for all of them."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from gradscope.capture.piles import Memory
from gradscope.scope import watch
from tests.capture.reference import norm, value


def test_one_room_serves_large_and_tiny_tensors_with_no_more_places_than_are_asked_for() -> None:
    memory = Memory()
    large = [torch.randn(512, 64) for _ in range(8)]
    tiny = [torch.randn(2, 1) for _ in range(3)]
    assert torch.equal(memory.stacked(large, torch.float64), torch.stack(large).double())
    before = sum(type(held) is torch.Tensor for held in gc.get_objects())
    assert torch.equal(memory.stacked(tiny, torch.float64), torch.stack(tiny).double())
    assert sum(type(held) is torch.Tensor for held in gc.get_objects()) - before <= len(tiny)
    more = tiny + [torch.randn(2, 1) for _ in range(4)]
    assert torch.equal(memory.stacked(more, torch.float64), torch.stack(more).double())
    assert torch.equal(memory.stacked(tiny, torch.float64), torch.stack(tiny).double())
    assert torch.equal(memory.stacked(large, torch.float64), torch.stack(large).double())


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_input_without_entries_leaves_the_rest_of_the_record_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 0), nn.Linear(0, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted = []
    with watch(model, optimizer, every=1) as scope:
        for _ in range(3):
            optimizer.zero_grad()
            out = model(torch.randn(4, 6))
            out.retain_grad()
            loss = out.square().mean()
            loss.backward()
            wanted.append(norm(out.grad))
            optimizer.step()
            scope.step(loss)
    for k, expected in enumerate(wanted):
        assert value(scope.run, "layers", "backward_norm", k, ("3", 0)) == pytest.approx(expected, rel=1e-6)
