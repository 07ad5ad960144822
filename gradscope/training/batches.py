"""Which rows are trained on when: a pure function of the seed and of how many batches there have been."""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.training.data import Split
from gradscope.training.seeds import derive


class Batches:
    """Batch number 0, 1, 2 ... of ``size`` rows each, every epoch in an order of its own.

    What an epoch leaves over is dropped, so that all batches weigh the same. Batch i needs no memory of batch i - 1: a
    resumed run only asks for its next number, in the middle of an epoch too.
    """

    def __init__(self, split: Split, size: int, seed: int) -> None:
        self.split, self.size, self.seed = split, size, seed
        self.per_epoch = len(split) // size
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs (size, ...) and targets (size, ...) of this batch."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            draw = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            self._order = torch.randperm(len(self.split), generator=draw).to(self.split.y.device)
            self._epoch = epoch
        rows = self._order[place * self.size : (place + 1) * self.size]
        return self.split.x[rows], self.split.y[rows]
