"""Handwritten digits: 1,797 real images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from gradscope.training.options import DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data

SHAPES: Mapping[str, Shape] = {"image": (1, 8, 8), "flat": (64,), "rows": (8, 8), "pixels": (64, 1)}
"""Layout -> shape of one row."""


class Options(DataOptions):
    """Handwritten digits, 1,797 images of 8 x 8 pixels, 10 classes."""

    name: Literal["digits"] = "digits"
    layout: Literal["image", "flat", "rows", "pixels"] = "image"
    """How an image is given: as an image, as a vector, or as a sequence of its rows or of its pixels (Le et al. 2015)."""

    @property
    def size(self) -> int:
        return 1797

    @property
    def shape(self) -> Shape:
        return SHAPES[self.layout]

    @property
    def layouts(self) -> Mapping[str, Shape]:
        return SHAPES


def load(options: Options, seed: int) -> Data:
    """Images (rows, *shape), split by ``seed`` and standardised."""
    import torch
    from sklearn.datasets import load_digits

    from gradscope.training.data import split

    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, *options.shape)
    return split(x, torch.tensor(classes, dtype=torch.int64), options, seed)
