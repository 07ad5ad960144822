"""The adding problem: two of many numbers are marked, and their sum is asked for at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.training.options import Count, DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """The adding problem (Hochreiter & Schmidhuber 1997, as in Le et al. 2015): a sequence of numbers from 0 to 1, two of them
    marked, one in each half; their sum is to be told at the end. Always saying 1 has an mse of 1/6.
    """

    name: Literal["adding"] = "adding"
    length: Annotated[int, Field(ge=2)] = 50
    """Steps of a sequence."""
    points: Count = 4000
    """Number of sequences."""

    @property
    def size(self) -> int:
        return self.points

    @property
    def shape(self) -> Shape:
        return self.length, 2

    @property
    def regression(self) -> bool:
        return True


def load(options: Options, seed: int) -> Data:
    """Sequences (rows, length, 2), a number and its mark at each step, and sums (rows, 1), drawn and split by ``seed``."""
    import torch

    from gradscope.training.data import split
    from gradscope.training.seeds import derive

    draw = torch.Generator().manual_seed(derive(seed, "points"))
    rows, half = options.points, options.length // 2
    numbers = torch.rand(rows, options.length, generator=draw)
    early = torch.randint(half, (rows, 1), generator=draw)
    late = torch.randint(half, options.length, (rows, 1), generator=draw)
    marks = torch.zeros_like(numbers).scatter_(1, torch.cat([early, late], dim=1), 1.0)
    x = torch.stack([numbers, marks], dim=2)
    return split(x, (numbers * marks).sum(1, keepdim=True), options, seed, standardise="nothing")
