from __future__ import annotations

import pytest
import torch

from gradscope.errors import ConfigError
from gradscope.training.config import DATASETS
from gradscope.training.data import split
from gradscope.training.options import DataOptions
from tests.training.datasets.loading import AT_HAND, load

AS_DRAWN = {"adding", "copying", "recall"}
"""Numbers from 0 to 1 with marks, and one-hot symbols: standardising would only blur what they mean."""
CLASSES = sorted(name for name in AT_HAND if not DATASETS[name].Options().regression)


@pytest.mark.parametrize("name", AT_HAND)
def test_every_data_set_keeps_its_contract(name: str) -> None:
    options = DATASETS[name].Options()
    data = load(name)
    for part in (data.train, data.validation):
        assert part.x.dtype == torch.float32
        assert part.x.shape == (len(part), *data.input_shape)
        assert part.x.isfinite().all()
        if options.regression:
            assert part.y.dtype == torch.float32
            assert part.y.shape == (len(part), data.outputs)
            assert part.y.isfinite().all()
        else:
            assert part.y.dtype == torch.int64
            assert set(part.y.flatten().tolist()) == set(range(data.outputs))
    assert data.input_shape == options.shape
    assert data.regression == options.regression
    assert data.answers == options.answers
    assert (len(data.train), len(data.validation)) == options.split(options.size)


@pytest.mark.parametrize("name", sorted(set(AT_HAND) - AS_DRAWN))
def test_training_rows_are_standardised_by_their_own_statistics(name: str) -> None:
    data = load(name)
    assert data.train.x.double().mean().item() == pytest.approx(0, abs=1e-6)
    assert data.train.x.double().std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert data.validation.x.mean().item() != pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", AT_HAND)
def test_the_seed_decides_the_split_and_nothing_else_does(name: str) -> None:
    state = torch.get_rng_state()
    one, again, other = load(name, seed=1), load(name, seed=1), load(name, seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.train.x, again.train.x)
    assert torch.equal(one.validation.y, again.validation.y)
    assert not torch.equal(one.validation.x, other.validation.x)


def test_the_digits_are_the_real_ones_and_no_row_is_in_both_parts() -> None:
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    data = load("digits", validation=0.25)
    assert data.input_shape == (1, 8, 8)
    x = torch.cat([data.train.x, data.validation.x]).flatten(1)
    # Standardising is affine: stretched back to 0 .. 16, the rows are the original ones, each as often as there.
    x = ((x - x.min()) / (x.max() - x.min()) * 16).round().int()
    ours = sorted(zip(x.tolist(), torch.cat([data.train.y, data.validation.y]).tolist(), strict=True))
    assert ours == sorted(zip(images.astype(int).tolist(), classes.tolist(), strict=True))


def test_every_class_has_its_share_of_the_validation_rows() -> None:
    y = torch.cat([torch.zeros(700), torch.ones(200), torch.full((100,), 2)]).long()
    for share in (0.01, 0.1, 0.33, 0.5):
        data = split(torch.randn(1000, 2), y, DataOptions(name="unbalanced", batch_size=8, validation=share), seed=0)
        counts = torch.bincount(data.validation.y, minlength=3).double()
        assert int(counts.sum()) == round(1000 * share)
        assert ((counts - share * torch.tensor([700.0, 200, 100])).abs() <= 1).all()


@pytest.mark.parametrize("name", CLASSES)
def test_the_first_rows_are_a_fair_sample_of_the_classes(name: str) -> None:
    data = load(name)
    assert len(data.train.y[:128].unique()) == data.outputs


def test_a_batch_larger_than_the_training_rows_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"data.batch_size: larger than .*got 90; expected at most 80 of 100 rows"):
        split(torch.randn(100, 2), torch.zeros(100).long(), DataOptions(name="late", batch_size=90), seed=0)


def test_a_single_row_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="cannot be split"):
        split(torch.randn(1, 2), torch.zeros(1).long(), DataOptions(name="one", batch_size=1), seed=0)


def test_constant_features_standardise_to_zero() -> None:
    data = split(torch.full((10, 2), 7.0), torch.zeros(10).long(), DataOptions(name="flat", batch_size=1), seed=0)
    assert not data.train.x.any()


def test_a_spiral_without_noise_winds_once_around_the_centre() -> None:
    from gradscope.training.datasets import spirals

    data = load("spirals", noise=0.0, turns=1.0, points=2000)
    x = torch.cat([data.train.x, data.validation.x]).double()
    y = torch.cat([data.train.y, data.validation.y])
    arm = x[y == 0]
    radius = arm.norm(dim=1)
    angle = torch.atan2(arm[:, 1], arm[:, 0]) % (2 * torch.pi)
    # Standardising moves the centre a little; far from it the angle still grows in proportion to the radius.
    far = radius > 0.5 * radius.max()
    assert torch.allclose(angle[far], 2 * torch.pi * radius[far] / radius.max(), atol=0.25)
    assert spirals.Options().size == 1500
