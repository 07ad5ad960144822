"""Handwritten digits: 1,797 real images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.options import DataOptions

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Handwritten digits, 1,797 images of 8 x 8 pixels, 10 classes."""

    name: Literal["digits"] = "digits"

    @property
    def size(self) -> int:
        return 1797


def load(options: Options, seed: int) -> Data:
    """Images (rows, 1, 8, 8), split by ``seed`` and standardised."""
    import torch
    from sklearn.datasets import load_digits

    from gradscope.training.data import split

    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return split(x, torch.tensor(classes, dtype=torch.int64), options, seed)
