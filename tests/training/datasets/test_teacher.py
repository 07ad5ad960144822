from __future__ import annotations

import pytest
import torch

from tests.training.datasets.loading import load, rows


def unexplained(x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the variance of ``y`` that no affine map of ``x`` explains."""
    x, y = torch.cat([x, torch.ones(len(x), 1)], dim=1).double(), y.double()
    residue = y - x @ torch.linalg.lstsq(x, y).solution
    return (residue.square().mean() / y.var(correction=0)).item()


def test_a_teacher_of_one_layer_is_a_linear_map() -> None:
    assert unexplained(*rows(load("teacher", depth=1))) < 1e-10


def test_a_deeper_teacher_is_none() -> None:
    assert unexplained(*rows(load("teacher", depth=3))) > 0.05


def test_noise_is_added_by_its_standard_deviation() -> None:
    # The answers' own standard deviation is 1, so noise of 1 is about half of the variance.
    assert unexplained(*rows(load("teacher", depth=1, noise=1.0, points=20_000, outputs=4))) == pytest.approx(0.5, abs=0.1)


def test_classes_are_the_largest_output() -> None:
    numbers, classes = (rows(load("teacher", task=task, outputs=3, noise=0.1)) for task in ("numbers", "classes"))
    assert torch.bincount(classes[1], minlength=3).min() > 0
    assert classes[1].dtype == torch.int64
    assert numbers[1].shape == (2000, 3)


def test_classes_need_two_outputs() -> None:
    with pytest.raises(ValueError, match="too few for classes"):
        load("teacher", task="classes")
