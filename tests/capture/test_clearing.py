"""Backward passes whose gradients no optimizer takes leave nothing in the record of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import Eye, Plain, held


def thrown_away(eye: Eye) -> None:
    if isinstance(eye, Plain):
        eye.discard_forward()


def take(optimizer: Any, eye: Eye, loss: Tensor) -> None:
    eye.before_step()
    optimizer.step()
    eye.step(loss)


@pytest.mark.parametrize("to_none", [True, False])
def test_a_batch_that_is_skipped_after_its_backward(to_none: bool) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for k, (x, y) in enumerate(batches(12)):
            optimizer.zero_grad(set_to_none=to_none)
            loss = cross_entropy(model, x, y)
            loss.backward()
            if k % 3 == 1:
                thrown_away(eye)
                continue
            eye.backward_done()
            take(optimizer, eye, loss)

    held(lambda: mlp(nn.ReLU), loop)


@pytest.mark.parametrize("to_none", [True, False])
def test_two_passes_of_which_the_second_counts(to_none: bool) -> None:
    """Sharpness-aware minimisation: the first pass finds where the gradient of the second is taken (Foret et al. 2021)."""

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad(set_to_none=to_none)
            cross_entropy(model, x, y).backward()
            thrown_away(eye)
            away = [0.05 * p.grad / (p.grad.norm() + 1e-12) for p in model.parameters() if p.grad is not None]
            with torch.no_grad():
                for p, d in zip(model.parameters(), away, strict=True):
                    p.add_(d)
            optimizer.zero_grad(set_to_none=to_none)
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            with torch.no_grad():
                for p, d in zip(model.parameters(), away, strict=True):
                    p.sub_(d)
            take(optimizer, eye, loss)

    held(lambda: mlp(nn.Tanh), loop)


class Failing(torch.autograd.Function):
    left = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        if Failing.left:
            Failing.left -= 1
            raise RuntimeError("out of memory")
        return gradient


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.second(Failing.apply(torch.tanh(self.first(x))))))
        return out


def test_a_backward_that_fails_and_is_tried_again() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for k, (x, y) in enumerate(batches(6)):
            optimizer.zero_grad()
            if k % 3 == 2:
                Failing.left = 1
                with pytest.raises(RuntimeError, match="memory"):
                    cross_entropy(model, x, y).backward()
                thrown_away(eye)
                optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            take(optimizer, eye, loss)

    held(Fragile, loop)


def test_micro_batches_that_are_clipped_one_by_one_add_up() -> None:
    """What was written to is no reason to forget it."""

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            for part in range(3):
                loss = cross_entropy(model, x[part::3], y[part::3])
                loss.backward()
                if part < 2:
                    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
                eye.backward_done()
            take(optimizer, eye, loss)

    held(lambda: mlp(nn.ReLU), loop)


def test_what_runs_between_the_optimizer_s_step_and_the_end_of_the_step_is_no_part_of_it() -> None:
    """As a generator's pass through the discriminator that is watched."""

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            cross_entropy(model, 2.0 * x, y).backward()
            thrown_away(eye)
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)
