"""Python's garbage collector rests in a forward pass that is sampled, and at no other time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import gradscope


class Looks(nn.Module):
    """Notes in each forward pass whether garbage is collected, and breaks off where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.collecting: list[bool] = []
        self.breaks = False

    def forward(self, x: Tensor) -> Tensor:
        self.collecting.append(gc.isenabled())
        if self.breaks:
            raise RuntimeError("out of memory")
        out: Tensor = self.linear(x)
        return out


@pytest.fixture(autouse=True)
def on_afterwards() -> Iterator[None]:
    yield
    gc.enable()


def forward(model: nn.Module) -> Tensor:
    out: Tensor = model(torch.ones(4, 3))
    return out.square().mean()


def test_it_rests_in_the_forward_passes_that_are_sampled_and_works_in_the_others_and_between() -> None:
    model = Looks()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every={"layers": 2}) as scope:
        for _ in range(4):
            loss = forward(model)
            assert gc.isenabled()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scope.step(loss)
        model.eval()
        forward(model)
    assert model.collecting == [False, True, False, True, True]


def test_it_works_again_after_a_forward_pass_that_breaks_off() -> None:
    model = Looks()
    model.breaks = True
    with gradscope.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1):
        with pytest.raises(RuntimeError, match="out of memory"):
            forward(model)
        assert gc.isenabled()
    assert model.collecting == [False]


def test_it_works_again_where_a_forward_pass_is_interrupted_and_the_scope_ends() -> None:
    class Interrupted(Looks):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    model = Interrupted()
    with pytest.raises(KeyboardInterrupt), gradscope.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1):
        forward(model)
    assert gc.isenabled()


def test_where_somebody_has_switched_it_off_it_stays_so() -> None:
    model = Looks()
    gc.disable()
    with gradscope.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1):
        forward(model)
        assert not gc.isenabled()
    assert not gc.isenabled()
