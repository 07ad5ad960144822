"""What a data set's ``load`` gives: rows to train and to validate on, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gradscope.errors import ConfigError
from gradscope.training.options import DataOptions
from gradscope.training.seeds import derive

if TYPE_CHECKING:
    from gradscope.training.published import Augmentation


@dataclass(frozen=True, eq=False)
class Split:
    """``x`` (rows, *input_shape) float32; ``y`` (rows,) int64 class numbers, (rows, answers) of them where one is asked for at
    each of the last steps, or (rows, outputs) float32 numbers to predict.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Data:
    """``input_shape`` is that of one row, ``outputs`` the number of classes or of numbers to predict.

    ``augmentation`` says how training images are changed each time they are seen.
    """

    train: Split
    validation: Split
    outputs: int
    augmentation: Augmentation | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train.x.shape[1:])

    @property
    def regression(self) -> bool:
        """Whether there are numbers to predict instead of classes."""
        return self.train.y.is_floating_point()

    @property
    def answers(self) -> int:
        """At how many steps, the last ones, a class is asked for."""
        return 1 if self.regression or self.train.y.dim() == 1 else self.train.y.shape[1]

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for part in (self.train, self.validation) for t in (part.x, part.y))

    def to(self, device: torch.device) -> Data:
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))


def split(
    x: Tensor,
    y: Tensor,
    options: DataOptions,
    seed: int,
    *,
    standardise: Literal["together", "each", "nothing"] = "together",
) -> Data:
    """Shuffle (rows, ...), split them, every class in proportion, and standardise with the training rows' mean and deviation.

    One mean and one standard deviation serve for all features ``together``, as is usual for images: a pixel that is nearly
    always 0 is not blown up by its own. Features of different units have ``each`` their own. Numbers to predict have
    always each their own, so that a network that knows nothing has an mse of 1. ``nothing`` leaves the data as drawn.

    Raises:
        ConfigError: the batch is larger than the training data, or there are too few rows to split.
    """
    rows, regression = len(y), y.is_floating_point()
    problems = [f"data.{key}: {what}" for key, what in options.misfits(rows)]
    if rows < 2:
        problems = [f"data: {rows} row of data cannot be split into training and validation"]
    if problems:
        raise ConfigError(problems)
    train, validation = divided(y, options.split(rows)[1], seed)
    if standardise != "nothing":
        x = _standardised(x, train, over=None if standardise == "together" else 0)
        y = _standardised(y, train, over=0) if regression else y
    outputs = y.shape[1] if regression else int(y.max()) + 1
    return Data(Split(x[train], y[train]), Split(x[validation], y[validation]), outputs)


def divided(y: Tensor, kept_aside: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shuffled numbers of the rows to train on, and of as many as are kept aside, every class of ``y`` in proportion."""
    rows = len(y)
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(derive(seed, "split")))
    by_class = shuffled if y.dim() > 1 else shuffled[torch.argsort(y[shuffled], stable=True)]
    # Evenly spaced places in an order sorted by class take the same share of each class, to within a row.
    places = ((torch.arange(kept_aside, dtype=torch.float64) + 0.5) * (rows / max(kept_aside, 1))).long()
    aside = torch.zeros(rows, dtype=torch.bool)
    aside[by_class[places]] = True
    return shuffled[~aside[shuffled]], shuffled[aside[shuffled]]


def tensors(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """A stranger's rows and targets, arrays or tensors, as a ``Split`` has them. Raises ``ValueError`` that says what is wrong.

    Whole numbers (and truth values) are classes, counted from 0; other numbers are to be predicted.
    """
    inputs, targets = _tensor(x, "inputs"), _tensor(y, "targets")
    if not 2 <= inputs.dim() <= 4:
        raise ValueError(f"the inputs have shape {tuple(inputs.shape)} (expected rows of vectors, sequences or images)")
    if targets.dim() not in (1, 2):
        raise ValueError(
            f"the targets have shape {tuple(targets.shape)} (expected (rows,), (rows, answers) or (rows, numbers))"
        )
    if len(inputs) != len(targets) or not inputs.numel() or not targets.numel():
        raise ValueError(f"there are {len(targets):,} targets for {len(inputs):,} rows of inputs")
    inputs = inputs.float()
    if not inputs.isfinite().all():
        raise ValueError("the inputs hold NaN or infinity")
    if targets.is_floating_point():
        numbers = targets.float() if targets.dim() == 2 else targets.float()[:, None]
        if not numbers.isfinite().all():
            raise ValueError("the targets hold NaN or infinity")
        return inputs, numbers
    if targets.min() < 0:
        raise ValueError(f"a class is {int(targets.min())} (expected whole numbers from 0)")
    return inputs, targets.long()


def _tensor(given: Any, what: str) -> Tensor:
    try:
        made = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the {what} are no array of numbers ({error})") from error
    if made.is_complex():
        raise ValueError(f"the {what} are complex numbers")
    return made


def _standardised(x: Tensor, train: Tensor, over: int | None) -> Tensor:
    """``x`` less its mean, by its standard deviation, both of its rows ``train``, over their rows or over everything."""
    mean, std = x[train].mean(over), x[train].std(over, correction=0)
    return (x - mean) / std.clamp_min(torch.finfo(x.dtype).tiny)
