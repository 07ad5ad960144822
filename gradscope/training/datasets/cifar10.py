"""CIFAR-10: 60,000 small photographs (Krizhevsky 2009), from its six published files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.published import PublishedImages

if TYPE_CHECKING:
    from gradscope.training.data import Data

CHECKSUMS = {
    "data_batch_1": ("5dd7e06a14cb22eb9f671a540d1b7c25", "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": ("5ea93a67294ea407fff1d09f752e9692", "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": ("942cd6a4bcdd0dd3c604fbe906cb4421", "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": ("ae636b3ba5c66a11e91e8cb52e771fcb", "634d18415352ddfa80567beed471001a"),
    "data_batch_5": ("53f37980c15c3d472c316c40844f3f0d", "482c414d41f54cd18b22e5b47cb7c3cb"),
    "test_batch": ("803d5f7f4d78ea53de84dbe85f74fb6d", "40351d587109b95175f43aff81a1287e"),
}
"""MD5 of each file, as bytes and as a pickle."""


class Options(PublishedImages):
    """CIFAR-10, photographs of 32 x 32 pixels in colour, 50,000 to train on and 10,000 to test with, 10 classes (Krizhevsky
    2009), from local files.
    """

    name: Literal["cifar10"] = "cifar10"
    images = 50_000
    image = (3, 32, 32)


def load(options: Options, seed: int) -> Data:
    """Images of the published files, laid out, standardised and split."""
    import numpy as np

    from gradscope.training.cifar import CLASSES, read
    from gradscope.training.images import assembled

    *batches, test = (read(options, stem, sums) for stem, sums in CHECKSUMS.items())
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return assembled((images, labels), test, options, seed, CLASSES)
