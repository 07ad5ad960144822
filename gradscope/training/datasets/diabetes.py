"""Diabetes: 442 real patients with 10 measures each that ship with scikit-learn (Efron et al. 2004)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.options import DataOptions, Shape

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Diabetes of 442 patients with 10 measures; its progress a year later is the number to predict (Efron et al. 2004)."""

    name: Literal["diabetes"] = "diabetes"

    @property
    def size(self) -> int:
        return 442

    @property
    def shape(self) -> Shape:
        return (10,)

    @property
    def regression(self) -> bool:
        return True


def load(options: Options, seed: int) -> Data:
    """Rows (rows, 10), split by ``seed``, each feature and the number to predict standardised by its own mean and deviation."""
    import torch
    from sklearn.datasets import load_diabetes

    from gradscope.training.data import split

    x, progress = load_diabetes(return_X_y=True)
    y = torch.tensor(progress, dtype=torch.float32)[:, None]
    return split(torch.tensor(x, dtype=torch.float32), y, options, seed, standardise="each")
