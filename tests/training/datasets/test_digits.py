from __future__ import annotations

import torch

from tests.training.datasets.loading import load


def test_every_layout_holds_the_same_pixels_in_the_same_order() -> None:
    image = load("digits").train.x
    assert image.shape[1:] == (1, 8, 8)
    for layout, shape in {"flat": (64,), "rows": (8, 8), "pixels": (64, 1)}.items():
        x = load("digits", layout=layout).train.x
        assert x.shape[1:] == shape
        assert torch.equal(x.flatten(1), image.flatten(1))


def test_a_step_of_the_rows_is_a_row_of_the_image() -> None:
    image, rows = load("digits").train.x, load("digits", layout="rows").train.x
    assert torch.equal(rows[:, 3], image[:, 0, 3])
