"""Recall: the first of many symbols is asked for at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.training.options import Count, DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """A sequence of random symbols, of which the first is to be told at the end: nothing is learned unless the gradient reaches
    back over the whole length (after the latching problem of Bengio, Simard & Frasconi 1994).
    """

    name: Literal["recall"] = "recall"
    symbols: Annotated[int, Field(ge=2)] = 8
    """Number of different symbols, the classes."""
    length: Count = 20
    """Steps of a sequence."""
    points: Annotated[int, Field(ge=2)] = 4000
    """Number of sequences."""

    @property
    def size(self) -> int:
        return self.points

    @property
    def shape(self) -> Shape:
        return self.length, self.symbols


def load(options: Options, seed: int) -> Data:
    """Sequences (rows, length, symbols), one-hot, and the first symbol of each (rows,), drawn and split by ``seed``."""
    import torch
    from torch.nn import functional as F

    from gradscope.training.data import split
    from gradscope.training.seeds import derive

    draw = torch.Generator().manual_seed(derive(seed, "points"))
    symbols = torch.randint(options.symbols, (options.points, options.length), generator=draw)
    symbols[:, 0] = torch.arange(options.points) % options.symbols
    x = F.one_hot(symbols, options.symbols).float()
    return split(x, symbols[:, 0].clone(), options, seed, standardise="nothing")
