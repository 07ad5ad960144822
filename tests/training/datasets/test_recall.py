from __future__ import annotations

import torch

from tests.training.datasets.loading import load, rows


def test_a_step_is_one_symbol_and_the_class_is_the_first() -> None:
    x, y = rows(load("recall", symbols=5, length=9, points=400))
    assert x.shape == (400, 9, 5)
    assert torch.equal(x.sum(2), torch.ones(400, 9))
    assert torch.equal(x[:, 0].argmax(1), y)


def test_later_symbols_tell_nothing_of_the_first() -> None:
    x, y = rows(load("recall", symbols=4, length=6, points=8000))
    for step in range(1, 6):
        together = torch.zeros(4, 4).index_put_((y, x[:, step].argmax(1)), torch.ones(8000), accumulate=True)
        # Each of the 16 pairs has 500 rows, give or take sqrt(500 * 15 / 16) = 22.
        assert ((together - 500).abs() < 5 * 22).all()


def test_every_symbol_is_asked_for_equally_often() -> None:
    _, y = rows(load("recall", symbols=8, points=800))
    assert torch.bincount(y).tolist() == [100] * 8
