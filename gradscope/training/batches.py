"""Which rows are trained on when, and how they are changed: a pure function of the seed and of how many batches there were."""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.training.augmentation import Changes, draw
from gradscope.training.data import Split
from gradscope.training.published import Augmentation
from gradscope.training.seeds import derive


class Batches:
    """Batch number 0, 1, 2 ... of ``size`` rows each, every epoch in an order of its own; on ``device``.

    What an epoch leaves over is dropped, so that all batches weigh the same. Batch i needs no memory of batch i - 1: a
    resumed run only asks for its next number, in the middle of an epoch too.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int,
        device: torch.device | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.split, self.size, self.seed = split, size, seed
        self.device = device or split.y.device
        self.augmentation = augmentation
        self.per_epoch = len(split) // size
        self._epoch, self._order = -1, torch.empty(0)
        self._changes: Changes | None = None

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs (size, ...) and targets (size, ...) of this batch."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        within = slice(place * self.size, (place + 1) * self.size)
        rows = self._order[within]
        x, y = (on_device(part[rows], self.device) for part in (self.split.x, self.split.y))
        return (x if self._changes is None else self._changes.applied(x, within)), y

    def _begin(self, epoch: int) -> None:
        """Draw all of an epoch at once: one copy to the device instead of one for each batch."""
        order = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        self._order = torch.randperm(len(self.split), generator=order).to(self.split.y.device)
        self._epoch = epoch
        if self.augmentation is not None:
            chance = torch.Generator().manual_seed(derive(self.seed, "augmentation", epoch))
            self._changes = draw(self.augmentation, len(self.split), chance).to(self.device)


def on_device(part: Tensor, device: torch.device) -> Tensor:
    """The same on ``device``; from the CPU to a GPU, the copy goes on while the GPU computes."""
    if part.device == device:
        return part
    return (part.pin_memory() if device.type == "cuda" and not part.is_cuda else part).to(device, non_blocking=True)
