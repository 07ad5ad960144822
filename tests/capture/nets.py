"""Tiny nets and batches: each is the least that shows one thing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(activation: type[nn.Module] = nn.Tanh, depth: int = 3, width: int = 8, classes: int = 4) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def batches(n: int, rows: int = 12, width: int = 8, classes: int = 4) -> Iterator[tuple[Tensor, Tensor]]:
    """The same n batches every time; they do not use the global random state."""
    g = torch.Generator().manual_seed(7)
    for _ in range(n):
        yield torch.randn(rows, width, generator=g), torch.randint(0, classes, (rows,), generator=g)


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    loss: Tensor = F.cross_entropy(model(x), y)
    return loss
