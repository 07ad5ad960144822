"""What the trainings of the zoo learn from: sets of scikit-learn, teachers, and made-up sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Data = tuple[Tensor, Tensor]
Batches = Iterator[Data]


def batches_of(data: Data, size: int) -> Batches:
    """Shuffled anew each epoch; a last batch that is not full is left out."""
    x, y = data
    draw = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(x), generator=draw)
        for start in range(0, len(x) - size + 1, size):
            at = order[start : start + size]
            yield x[at], y[at]


def whole(data: Data) -> Batches:
    """All rows at each step."""
    while True:
        yield data


def drawn(make: Callable[[Generator], Data]) -> Batches:
    """A new batch at each step."""
    draw = torch.Generator().manual_seed(0)
    while True:
        yield make(draw)


@cache
def digits() -> Data:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    pixels = torch.tensor(x, dtype=torch.float32)
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(y)


def digit_rows() -> Data:
    """Each image as a sequence of its eight rows."""
    x, y = digits()
    return x.view(-1, 8, 8), y


@cache
def moons() -> Data:
    from sklearn.datasets import make_moons

    x, y = make_moons(2000, noise=0.1, random_state=0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@cache
def teacher() -> Data:
    """A small random tanh net's answers, standardised: 32 numbers to one."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2048, 32, generator=draw)
    first, second = torch.randn(32, 16, generator=draw) / 32**0.5, torch.randn(16, 1, generator=draw)
    y = torch.tanh(x @ first) @ second
    return x, (y - y.mean(0)) / y.std(0)


@cache
def linear_teacher(inputs: int) -> Data:
    """A random matrix's answers: so many numbers to one."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(2048, inputs, generator=draw)
    return x, x @ torch.randn(inputs, 1, generator=draw) / inputs**0.5


def adding(length: int, rows: int) -> Callable[[Generator], Data]:
    """The sum of two marked numbers of a sequence, one in each half (Hochreiter & Schmidhuber 1997)."""

    def make(draw: Generator) -> Data:
        values, marks = torch.rand(rows, length, generator=draw), torch.zeros(rows, length)
        every = torch.arange(rows)
        marks[every, torch.randint(0, length // 2, (rows,), generator=draw)] = 1
        marks[every, torch.randint(length // 2, length, (rows,), generator=draw)] = 1
        return torch.stack([values, marks], -1), (values * marks).sum(1, keepdim=True)

    return make


def recall(length: int, rows: int, classes: int = 4) -> Callable[[Generator], Data]:
    """The class is shown at the first time step, noise afterwards; the answer is asked for at the end."""

    def make(draw: Generator) -> Data:
        y = torch.randint(0, classes, (rows,), generator=draw)
        x = 0.1 * torch.randn(rows, length, classes, generator=draw)
        x[:, 0] += F.one_hot(y, classes).float()
        return x, y

    return make
