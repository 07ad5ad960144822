from __future__ import annotations

import pytest
import torch

from tests.training.datasets.loading import load, rows


@pytest.mark.parametrize("length", [3, 5, 30])
def test_one_number_of_each_half_is_marked_and_the_target_is_their_sum(length: int) -> None:
    x, y = rows(load("adding", length=length, points=300))
    numbers, marks = x.unbind(2)
    assert x.shape == (300, length, 2)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert set(marks.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(marks[:, : length // 2].sum(1), torch.ones(300))
    assert torch.equal(marks[:, length // 2 :].sum(1), torch.ones(300))
    assert torch.allclose(y[:, 0], (numbers * marks).sum(1))


def test_every_place_of_a_half_is_marked_at_times() -> None:
    x, _ = rows(load("adding", length=7, points=1000))
    assert (x[:, :, 1].sum(0) > 0).all()


def test_always_saying_one_has_an_mse_of_a_sixth() -> None:
    _, y = rows(load("adding", points=20_000))
    # The squared error of one sum has a standard deviation of about 0.2.
    assert (y - 1).square().mean().item() == pytest.approx(1 / 6, abs=4 * 0.2 / 20_000**0.5)
