"""Breast cancer: 569 real tumours, 30 measures of their cells each, that ship with scikit-learn (Street et al. 1993)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.options import DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Breast cancer, 569 tumours with 30 measures of their cells, 2 classes (Street, Wolberg & Mangasarian 1993)."""

    name: Literal["breast-cancer"] = "breast-cancer"

    @property
    def size(self) -> int:
        return 569

    @property
    def shape(self) -> Shape:
        return (30,)


def load(options: Options, seed: int) -> Data:
    """Rows (rows, 30), split by ``seed``, every feature standardised by its own mean and deviation."""
    import torch
    from sklearn.datasets import load_breast_cancer

    from gradscope.training.data import split

    x, classes = load_breast_cancer(return_X_y=True)
    y = torch.tensor(classes, dtype=torch.int64)
    return split(torch.tensor(x, dtype=torch.float32), y, options, seed, standardise="each")
