"""A network, data and losses as a user has them in a file of their own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """One hidden layer, whatever a row is; one answer, or as many as are asked for."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, answers: int = 1, *, width: int = 4) -> None:
        super().__init__()
        self.shape = (answers, outputs) if answers > 1 else (outputs,)
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.head = nn.Linear(width, math.prod(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.hidden(x.flatten(1)).tanh())
        return y.unflatten(1, self.shape)


def rows(points: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors, and whether their first number is positive."""
    x = torch.randn(points, 5, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


def parts() -> tuple[Any, Any]:
    """Rows to train on and other rows to validate on, as arrays."""
    (x, y), (u, v) = rows(40), rows(20, seed=1)
    return (x.numpy(), y.numpy()), [u.numpy(), v.numpy()]


def doubled(outputs: Tensor, targets: Tensor) -> Tensor:
    return 2 * nn.functional.cross_entropy(outputs, targets)


def each_row(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def detached(outputs: Tensor, targets: Tensor) -> Tensor:
    return doubled(outputs, targets).detach()


def broken(width: int = 3) -> nn.Module:
    raise ValueError("no width will do")


def text() -> str:
    return "a network"


def narrow() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 2))


def wrong_outputs() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x, x


def uneven() -> Any:
    return torch.zeros(30, 5), torch.zeros(29, dtype=torch.int64)


def no_pair() -> Any:
    return torch.zeros(3, 2)


def two_forms() -> Any:
    return rows(40), (torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))


recurrent = nn.RNN
constant = 3
