"""What scales a residual branch, and Fixup (Zhang, Dauphin & Ma 2019): residual networks that train without norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """Adds one learned number, which starts at 0: Fixup's bias before each weight layer and each activation."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.bias


def factor_of(scale: float, *, fixup: bool) -> float | nn.Parameter:
    """What a branch is multiplied by: ``scale``; learned and starting at 1 under Fixup; learned where ``scale`` is 0.

    A factor that stayed at 0 would cut the branch off for good. One that is learned from 0 on is SkipInit (De & Smith 2020)
    and ReZero (Bachlechner et al. 2021).
    """
    if fixup or scale == 0.0:
        return nn.Parameter(torch.tensor(1.0 if fixup else 0.0))
    return scale


@torch.no_grad()
def fix_up(branches: Sequence[Sequence[nn.Module]], head: nn.Module) -> None:
    """Fixup's start, after the weights were drawn. ``branches`` are the weight layers of each, in forward order.

    Rules 1 and 2 of the paper: the last weight layer of each of the L branches and the head start at 0, and the others of a
    branch of m layers are scaled by L^(-1 / (2m - 2)), so that one step changes the function as much as in a shallow network.
    """
    for branch in branches:
        *inner, last = branch
        for layer in inner:
            layer.weight.mul_(len(branches) ** (-1.0 / (2 * len(inner))))  # type: ignore[operator]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
