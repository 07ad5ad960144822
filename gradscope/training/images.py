"""Image sets of bytes as training data: split, laid out and standardised."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradscope.errors import ConfigError
from gradscope.training.data import Data, Split, divided
from gradscope.training.published import Augmentation, PublishedImages

Bytes = NDArray[np.uint8]


def assembled(train: tuple[Bytes, Bytes], test: tuple[Bytes, Bytes], options: PublishedImages, seed: int, classes: int) -> Data:
    """Data of images (rows, channels, height, width) and labels (rows,), both bytes.

    Each channel is standardised by its own mean and deviation in the training images. The test images are not looked at
    where ``validation`` is a share of the training images.
    """
    images, labels = (torch.from_numpy(part.copy()) for part in train)
    if problems := [f"data.{key}: {what}" for key, what in options.misfits(len(labels))]:
        raise ConfigError(problems)
    kept, aside = divided(labels.long(), options.split(len(labels))[1], seed)
    inputs, targets = images[kept], labels[kept]
    if options.validation == "test":
        held, classes_held = (torch.from_numpy(part.copy()) for part in test)
    else:
        held, classes_held = images[aside], labels[aside]
    mean, std = channel_statistics(inputs)
    parts = []
    for x, y in ((inputs, targets), (held, classes_held)):
        scaled = x.float().sub_(mean).div_(std)
        parts.append(Split(laid_out(scaled, options.layout), y.long()))
    changed = options.augmentation if options.augmentation != Augmentation() else None
    return Data(parts[0], parts[1], classes, augmentation=changed)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channels, 1, 1) of images of bytes, float32; a constant channel has the deviation 1.

    From how often each value occurs, so that the sums are exact.
    """
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])]).double()
    values = torch.arange(256, dtype=torch.float64)
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares @ values.square() - mean.square()).clamp_min(0.0).sqrt()
    std[(counts > 0).sum(1) == 1] = 1.0
    return mean.float()[:, None, None], std.float()[:, None, None]


def laid_out(images: Tensor, layout: str) -> Tensor:
    """Images as they are, as vectors, or as sequences of rows (rows, height, channels * width) or pixels."""
    if layout == "image":
        return images
    if layout == "flat":
        return images.flatten(1)
    if layout == "rows":
        return images.transpose(1, 2).flatten(2)
    return images.flatten(2).transpose(1, 2).contiguous()
