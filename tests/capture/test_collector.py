"""Python's garbage collector waits for more in a step that is sampled, and at no other time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import gradscope
from gradscope.capture.collector import PATIENCE

USUAL = (700, 10, 10)


class Looks(nn.Module):
    """Notes in each forward pass how patient the collector is, and breaks off with the error that it is given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Linear(3, 2))
        self.patience: list[int] = []
        self.breaks: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.patience.append(gc.get_threshold()[0])
        if self.breaks is not None:
            raise self.breaks
        out: Tensor = self.layers(x)
        return out


@pytest.fixture(autouse=True)
def as_usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)
    gc.enable()


def forward(model: nn.Module) -> Tensor:
    out: Tensor = model(torch.ones(4, 3))
    return out.square().mean()


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, scope: gradscope.Scope) -> None:
    optimizer.zero_grad()
    loss = forward(model)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scope.step(loss)


def test_it_waits_in_the_steps_that_are_sampled_and_in_no_others() -> None:
    model = Looks()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, every={"layers": 2}) as scope:
        for _ in range(4):
            step(model, optimizer, scope)
            assert gc.get_threshold() == USUAL
        model.eval()
        forward(model)
    assert model.patience == [PATIENCE, USUAL[0], PATIENCE, USUAL[0], USUAL[0]]


def test_a_deep_network_that_is_sampled_sets_off_no_collection() -> None:
    model = Looks(*(nn.Linear(3, 3) for _ in range(500)))
    optimizer = sgd(model)
    collections: list[str] = []

    def see(phase: str, _info: dict[str, int]) -> None:
        collections.append(phase)

    with gradscope.watch(model, optimizer, every={"layers": 8}) as scope:
        for _ in range(8):
            step(model, optimizer, scope)  # the first looks for the layers
        gc.collect()
        gc.callbacks.append(see)
        try:
            loss = forward(model)
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            gc.callbacks.remove(see)
        made = gc.get_count()[0]
        scope.step(loss)
    assert not collections
    assert made > USUAL[0]


def test_a_step_that_breaks_off_is_ended_by_the_next() -> None:
    model = Looks()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, every=1) as scope:
        model.breaks = RuntimeError("out of memory")
        with pytest.raises(RuntimeError, match="out of memory"):
            forward(model)
        model.breaks = None
        step(model, optimizer, scope)
        assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_step_that_breaks_off_ends_with_the_scope(error: type[BaseException]) -> None:
    model = Looks()
    model.breaks = error()
    with pytest.raises(error), gradscope.watch(model, sgd(model), every=1):
        forward(model)
    assert model.patience == [PATIENCE]
    assert gc.get_threshold() == USUAL


def test_of_two_scopes_the_one_that_made_it_wait_ends_it() -> None:
    first, second = Looks(), Looks()
    with gradscope.watch(first, sgd(first), every=1) as scope, gradscope.watch(second, sgd(second), every=1) as other:
        loss = forward(first) + forward(second)
        loss.backward()  # type: ignore[no-untyped-call]
        scope.step(loss)
        assert gc.get_threshold() == USUAL
        other.step(loss)
        assert gc.get_threshold() == USUAL


def test_whoever_has_it_switched_off_or_patient_himself_keeps_it_so() -> None:
    model = Looks()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, every=1) as scope:
        gc.set_threshold(0)
        step(model, optimizer, scope)
        assert gc.get_threshold()[0] == 0
        gc.set_threshold(PATIENCE + 1, 5, 5)
        step(model, optimizer, scope)
        assert gc.get_threshold() == (PATIENCE + 1, 5, 5)
        gc.set_threshold(*USUAL)
        gc.disable()
        step(model, optimizer, scope)
        assert not gc.isenabled()
        gc.enable()
        loss = forward(model)
        gc.set_threshold(800, 5, 5)
        scope.step(loss)
        assert gc.get_threshold() == (800, 5, 5)
    assert model.patience == [0, PATIENCE + 1, PATIENCE, PATIENCE]
