"""What a data set's ``load`` gives: rows to train and to validate on, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradscope.errors import ConfigError
from gradscope.training.options import DataOptions
from gradscope.training.seeds import derive


@dataclass(frozen=True, eq=False)
class Split:
    """``x`` (rows, *input_shape) float32; ``y`` (rows,) int64 class numbers."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Data:
    """``input_shape`` is that of one row, ``outputs`` the number of classes."""

    train: Split
    validation: Split
    outputs: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train.x.shape[1:])

    def to(self, device: torch.device) -> Data:
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))


def split(x: Tensor, y: Tensor, options: DataOptions, seed: int) -> Data:
    """Shuffle (rows, ...), split them, every class in proportion, and standardise with the training rows' mean and deviation.

    One mean and one standard deviation serve for all features, as is usual for images: a pixel that is nearly always 0
    is not blown up by its own.

    Raises:
        ConfigError: the batch is larger than the training data, or there are too few rows to split.
    """
    rows = len(y)
    problems = [f"data.{key}: {what}" for key, what in options.misfits(rows)]
    if rows < 2:
        problems = [f"data: {rows} row of data cannot be split into training and validation"]
    if problems:
        raise ConfigError(problems)
    _, kept_aside = options.split(rows)
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(derive(seed, "split")))
    by_class = shuffled[torch.argsort(y[shuffled], stable=True)]
    # Evenly spaced places in an order sorted by class take the same share of each class, to within a row.
    places = ((torch.arange(kept_aside, dtype=torch.float64) + 0.5) * (rows / kept_aside)).long()
    aside = torch.zeros(rows, dtype=torch.bool)
    aside[by_class[places]] = True
    train, validation = shuffled[~aside[shuffled]], shuffled[aside[shuffled]]
    mean, std = x[train].mean(), x[train].std(correction=0).clamp_min(torch.finfo(x.dtype).tiny)
    x = (x - mean) / std
    return Data(Split(x[train], y[train]), Split(x[validation], y[validation]), int(y.max()) + 1)
