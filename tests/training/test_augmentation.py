from __future__ import annotations

from typing import Any

import pytest
import torch

from gradscope.training.augmentation import draw
from gradscope.training.batches import Batches
from gradscope.training.config import Config
from gradscope.training.data import Split
from gradscope.training.published import Augmentation

AS_HE = Augmentation(crop_padding=4, flip=True)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("options", [AS_HE, Augmentation(crop_padding=2), Augmentation(flip=True)], ids=str)
def test_a_changed_image_is_a_window_of_the_padded_one_mirrored_or_not(options: Augmentation) -> None:
    images = torch.randn(30, 3, 8, 6)
    changes = draw(options, 90, chance())
    p, rows = options.crop_padding, slice(40, 70)
    changed = changes.applied(images, rows)
    for i, (image, ours) in enumerate(zip(images, changed, strict=True)):
        padded = torch.zeros(3, 8 + 2 * p, 6 + 2 * p)
        padded[:, p : p + 8, p : p + 6] = image
        top, left = int(changes.top[40 + i]), int(changes.left[40 + i])
        window = padded[:, top : top + 8, left : left + 6]
        assert torch.equal(ours, window.flip(2) if changes.mirrored[40 + i] else window)


def test_every_window_is_as_likely_as_any_other_and_half_of_the_images_are_mirrored() -> None:
    changes = draw(AS_HE, 81_000, chance())
    # 81 windows of 1,000 images each, give or take sqrt(1,000) = 32.
    counts = torch.bincount(changes.top * 9 + changes.left, minlength=81)
    assert len(counts) == 81
    assert ((counts - 1000).abs() < 5 * 32).all()
    assert abs(int(changes.mirrored.sum()) - 40_500) < 5 * 142
    assert not draw(Augmentation(crop_padding=4), 100, chance()).mirrored.any()


def test_a_batch_is_changed_by_its_number_and_the_seed_alone() -> None:
    split = Split(torch.randn(20, 1, 8, 8), torch.arange(20))

    def batches(seed: int = 0) -> Batches:
        return Batches(split, 5, seed, augmentation=AS_HE)

    one = batches()
    told = [one[i] for i in range(12)]
    late = batches()  # which never saw the batches before
    for number in (7, 6, 11):
        for ours, theirs in zip(late[number], told[number], strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(batches(1)[7][0], told[7][0])
    plain = Batches(split, 5, 0)
    for i in range(12):  # the order of the rows is as without
        assert torch.equal(told[i][1], plain[i][1])
    first, again = ({int(k): x for x, k in zip(*told[i], strict=True)} for i in (0, 4))
    for row in set(first) & set(again):
        assert not torch.equal(first[row], again[row])


def test_a_resumed_training_on_changed_images_is_bit_identical(made_up_files: Any, tmp_path: Any) -> None:
    from gradscope.training.loop import Progress, train
    from gradscope.training.resume import resume

    class KilledError(Exception):
        pass

    def die(progress: Progress) -> None:
        if progress.step == 5:
            raise KilledError

    augmentation = {"crop_padding": 4, "flip": True}
    path = str(made_up_files / "cifar10")
    data = {"name": "cifar10", "path": path, "published": False, "batch_size": 16, "augmentation": augmentation}
    training = {"steps": 8, "checkpoint_every": 4, "validate_every": 4}
    model = {"kind": "cnn", "depth": 3, "width": 4}
    given = Config.model_validate({"name": "small", "device": "cpu", "model": model, "data": data, "training": training})
    whole = train(given)
    with pytest.raises(KilledError):
        train(given, tmp_path / "run", progress=die)
    resumed = resume(tmp_path / "run")
    for column in ("loss", "validation_loss"):
        ours, theirs = (run.grid("steps", column) for run in (whole, resumed))
        assert ours.values[ours.present].tolist() == theirs.values[theirs.present].tolist()


def test_only_images_are_changed() -> None:
    data = {"name": "mnist", "layout": "rows", "augmentation": {"flip": True}}
    with pytest.raises(ValueError, match=r"data\.augmentation\n  crops and flips images \(got layout 'rows'"):
        Config.model_validate({"model": {"kind": "rnn"}, "data": data})
