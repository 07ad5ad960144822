"""Fashion-MNIST: 70,000 pictures of clothes (Xiao et al. 2017), from its four published files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.published import PublishedImages

if TYPE_CHECKING:
    from gradscope.training.data import Data

CLASSES = 10
CHECKSUMS = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""MD5 of each file, unpacked."""


class Options(PublishedImages):
    """Fashion-MNIST, clothes in 28 x 28 pixels, 60,000 to train on and 10,000 to test with, 10 classes (Xiao, Rasul & Vollgraf
    2017), from local files.
    """

    name: Literal["fashion-mnist"] = "fashion-mnist"
    images = 60_000
    image = (1, 28, 28)


def load(options: Options, seed: int) -> Data:
    """Images of the published files, laid out, standardised and split."""
    from gradscope.training.idx import read
    from gradscope.training.images import assembled

    train, test = (read(options, CHECKSUMS, part, CLASSES) for part in ("train", "t10k"))
    return assembled(train, test, options, seed, CLASSES)
