"""A teacher: inputs at random, and what a random network says to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.training.options import Count, DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Normal inputs and the answers of a random tanh network, the teacher (Gardner & Derrida 1989): numbers to predict, or the
    class of its largest output. A student of the teacher's form can learn it without error, the noise aside.
    """

    name: Literal["teacher"] = "teacher"
    task: Literal["numbers", "classes"] = "numbers"
    """What is to be predicted: the teacher's outputs, or which of them is the largest."""
    points: Annotated[int, Field(ge=2)] = 2000
    """Number of rows."""
    features: Count = 20
    """Numbers of a row."""
    outputs: Count = 1
    """Outputs of the teacher."""
    depth: Count = 2
    """Weight layers of the teacher; 1 is a linear one."""
    width: Count = 16
    """Units of its hidden layers."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of what is added to each output of the teacher, whose own is about 1."""

    @property
    def size(self) -> int:
        return self.points

    @property
    def shape(self) -> Shape:
        return (self.features,)

    @property
    def regression(self) -> bool:
        return self.task == "numbers"

    def contradictions(self) -> list[tuple[str, str]]:
        found = list(super().contradictions())
        if self.task == "classes" and self.outputs < 2:
            found.append(("outputs", f"too few for classes (got {self.outputs}; expected at least 2)"))
        return found


def load(options: Options, seed: int) -> Data:
    """Rows (points, features) with answers (points, outputs), standardised, or classes (points,); all drawn by ``seed``."""
    import torch

    from gradscope.training.data import split
    from gradscope.training.seeds import derive

    draw = torch.Generator().manual_seed(derive(seed, "points"))
    x = torch.randn(options.points, options.features, generator=draw)
    h, widths = x, [*[options.width] * (options.depth - 1), options.outputs]
    for layer, width in enumerate(widths):
        # A hidden layer's mean square is below 1, so the next one's weights make up for it.
        scale = h.square().mean().sqrt() * math.sqrt(h.shape[1])
        h = h @ torch.randn(h.shape[1], width, generator=draw) / scale
        h = h.tanh() if layer < len(widths) - 1 else h
    answers = h + options.noise * torch.randn(h.shape, generator=draw)
    return split(x, answers if options.regression else answers.argmax(1), options, seed)
