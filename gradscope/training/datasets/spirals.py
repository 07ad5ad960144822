"""Spirals: arms of points that wind around each other in the plane, one class an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.training.options import DataOptions, Positive, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Points on arms that wind around each other in the plane, one class an arm (after Lang & Witbrock 1989)."""

    name: Literal["spirals"] = "spirals"
    classes: Annotated[int, Field(ge=2)] = 3
    """Number of arms."""
    points: Annotated[int, Field(ge=2)] = 500
    """Points on each arm."""
    turns: Positive = 1.0
    """How often an arm winds around the centre; more is harder."""
    noise: Annotated[float, Field(ge=0)] = 0.03
    """Standard deviation of each coordinate; an arm ends at distance 1 from the centre."""

    @property
    def size(self) -> int:
        return self.classes * self.points

    @property
    def shape(self) -> Shape:
        return (2,)


def load(options: Options, seed: int) -> Data:
    """Points (rows, 2), drawn and split by ``seed``, and standardised."""
    import torch

    from gradscope.training.data import split
    from gradscope.training.seeds import derive

    draw = torch.Generator().manual_seed(derive(seed, "points"))
    arm = torch.arange(options.classes).repeat_interleave(options.points)
    radius = torch.rand(options.size, generator=draw)
    angle = 2 * torch.pi * (options.turns * radius + arm / options.classes)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    noise = options.noise * torch.randn(points.shape, generator=draw)
    return split(points + noise, arm, options, seed)
