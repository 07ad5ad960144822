from __future__ import annotations

import pytest
import torch
from sklearn import datasets

from tests.training.datasets.loading import load, rows


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "diabetes"])
def test_the_rows_are_those_of_scikit_learn_each_feature_standardised(name: str) -> None:
    x, y = getattr(datasets, f"load_{name.replace('-', '_')}")(return_X_y=True)
    ours, targets = rows(load(name))
    assert ours.shape == x.shape
    # An affine map of each feature leaves the order of its values: rank them, and the rows are the same ones.
    theirs = torch.tensor(x, dtype=torch.float32)
    for feature in range(x.shape[1]):
        low, high = ours[:, feature].min(), ours[:, feature].max()
        scaled = (ours[:, feature] - low) / (high - low)
        column = theirs[:, feature]
        assert torch.allclose(
            scaled.sort().values, ((column - column.min()) / (column.max() - column.min())).sort().values, atol=1e-5
        )
    assert len(targets) == len(y)


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "diabetes"])
def test_each_feature_has_mean_zero_and_deviation_one(name: str) -> None:
    train = load(name).train
    assert torch.allclose(train.x.mean(0), torch.zeros(train.x.shape[1]), atol=1e-5)
    assert torch.allclose(train.x.std(0, correction=0), torch.ones(train.x.shape[1]), atol=1e-5)


def test_the_numbers_to_predict_have_variance_one_so_knowing_nothing_has_an_mse_of_one() -> None:
    y = load("diabetes").train.y
    assert y.square().mean().item() == pytest.approx(1, abs=1e-5)


def test_a_row_keeps_its_target() -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    ours, targets = rows(load("diabetes"))
    # The correlation of body mass index and progress does not change when both are standardised and rows are shuffled.
    expected = torch.corrcoef(torch.tensor([x[:, 2].tolist(), y.tolist()]))[0, 1].item()
    assert torch.corrcoef(torch.stack([ours[:, 2], targets[:, 0]]))[0, 1].item() == pytest.approx(expected, abs=1e-4)
