"""Real trainings, small: what the tests that judge them share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import gradscope

Batches = Iterator[tuple[Tensor, Tensor]]
cross_entropy, mse = functional.cross_entropy, functional.mse_loss


@dataclass
class Training:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    loss: Callable[[Any, Tensor], Tensor] = cross_entropy
    steps: int = 44
    scaler: torch.amp.GradScaler | None = None

    def step(self) -> Tensor:
        inputs, targets = next(self.batches)
        self.optimizer.zero_grad()
        half = torch.autocast("cpu", torch.float16) if self.scaler else contextlib.nullcontext()
        with half:
            outputs = self.model(inputs)
        loss = self.loss(outputs.float() if self.scaler else outputs, targets)
        if self.scaler:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()
            self.optimizer.step()
        return loss.detach()

    def watched(self, **options: Any) -> gradscope.Scope:
        with gradscope.watch(self.model, self.optimizer, every=3, **options) as scope:
            for _ in range(self.steps):
                scope.step(self.step())
        return scope


@cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, numbers = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(numbers)


def shuffled(data: tuple[Tensor, Tensor], rows: int = 64) -> Batches:
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(data[0]), generator=generator)
        for start in range(0, len(order) - rows + 1, rows):
            at = order[start : start + rows]
            yield data[0][at], data[1][at]


def drawn(draw: Callable[[torch.Generator], tuple[Tensor, Tensor]]) -> Batches:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield draw(generator)


def initialised(model: nn.Module, gain: float) -> nn.Module:
    """Weights of standard deviation gain over the root of the fan-in, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, gain / module.weight[0].numel() ** 0.5)
            nn.init.zeros_(module.bias)
    return model


def mlp(sizes: list[int], activation: type[nn.Module] = nn.ReLU, gain: float = 2**0.5) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    model = nn.Sequential(*layers[:-1])
    initialised(model, gain)
    return model


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr)


def sgd(model: nn.Module, lr: float, momentum: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr, momentum)
