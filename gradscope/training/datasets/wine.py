"""Wine: 178 real wines with 13 measures each that ship with scikit-learn (Forina et al. 1991)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.options import DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Wines of three growers, 178 with 13 chemical measures, 3 classes (Forina et al. 1991)."""

    name: Literal["wine"] = "wine"

    @property
    def size(self) -> int:
        return 178

    @property
    def shape(self) -> Shape:
        return (13,)


def load(options: Options, seed: int) -> Data:
    """Rows (rows, 13), split by ``seed``, every feature standardised by its own mean and deviation."""
    import torch
    from sklearn.datasets import load_wine

    from gradscope.training.data import split

    x, classes = load_wine(return_X_y=True)
    y = torch.tensor(classes, dtype=torch.int64)
    return split(torch.tensor(x, dtype=torch.float32), y, options, seed, standardise="each")
