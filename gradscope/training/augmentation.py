"""Random crops and flips of a batch of images at once, on the device that they are on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradscope.training.published import Augmentation


@dataclass(frozen=True, eq=False)
class Changes:
    """What happens to each row of an epoch: where its window in the padded image begins, if it is mirrored; (rows,) each."""

    padding: int
    top: Tensor
    left: Tensor
    mirrored: Tensor

    def to(self, device: torch.device) -> Changes:
        return Changes(self.padding, *(part.to(device) for part in (self.top, self.left, self.mirrored)))

    def applied(self, images: Tensor, rows: slice) -> Tensor:
        """Images (n, channels, height, width), which are these rows of the epoch, cut and mirrored."""
        n, channels, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4)
        across = torch.arange(width, device=images.device)
        across = torch.where(self.mirrored[rows, None], width - 1 - across, across)
        y = self.top[rows, None] + torch.arange(height, device=images.device)
        x = self.left[rows, None] + across
        row, channel = (torch.arange(k, device=images.device) for k in (n, channels))
        return padded[row[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]


def draw(options: Augmentation, rows: int, chance: torch.Generator) -> Changes:
    """Windows and mirrorings of so many rows: every window of the padded image is equally likely."""
    places = 2 * options.crop_padding + 1
    top, left = torch.randint(places, (2, rows), generator=chance)
    coins = torch.rand(rows, generator=chance) < 0.5
    return Changes(options.crop_padding, top, left, coins if options.flip else torch.zeros_like(coins))
