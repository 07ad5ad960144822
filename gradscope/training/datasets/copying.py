"""The copying problem: symbols are shown, and after a long pause they are to be told again, one at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.training.options import Count, DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """The copying problem (Hochreiter & Schmidhuber 1997, as in Arjovsky, Shah & Bengio 2016): symbols, blanks, a mark, and as
    many blanks again, at which the symbols are to be told in their order. The loss is that of these last steps alone; who
    remembers nothing has a cross-entropy of ln(symbols).
    """

    name: Literal["copying"] = "copying"
    symbols: Annotated[int, Field(ge=2)] = 8
    """Number of different symbols, the classes."""
    items: Annotated[int, Field(ge=2)] = 10
    """Symbols of a sequence."""
    delay: Count = 30
    """Steps between the last symbol and the first answer; at the last of them stands the mark."""
    points: Annotated[int, Field(ge=2)] = 4000
    """Number of sequences."""

    @property
    def size(self) -> int:
        return self.points

    @property
    def shape(self) -> Shape:
        return self.delay + 2 * self.items, self.symbols + 2

    @property
    def answers(self) -> int:
        return self.items


def load(options: Options, seed: int) -> Data:
    """Sequences (rows, delay + 2 items, symbols + 2), one-hot: symbols, blank, mark; and the symbols of each (rows, items)."""
    import torch
    from torch.nn import functional as F

    from gradscope.training.data import split
    from gradscope.training.seeds import derive

    draw = torch.Generator().manual_seed(derive(seed, "points"))
    blank, mark = options.symbols, options.symbols + 1
    shown = torch.randint(options.symbols, (options.points, options.items), generator=draw)
    steps = torch.full((options.points, options.shape[0]), blank)
    steps[:, : options.items] = shown
    steps[:, options.items + options.delay - 1] = mark
    return split(F.one_hot(steps, options.symbols + 2).float(), shown, options, seed, standardise="nothing")
