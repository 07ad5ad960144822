"""MNIST: 70,000 handwritten digits (LeCun et al. 1998), from its four published files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.training.published import PublishedImages

if TYPE_CHECKING:
    from gradscope.training.data import Data

CLASSES = 10
CHECKSUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of each file, unpacked."""


class Options(PublishedImages):
    """MNIST, handwritten digits of 28 x 28 pixels, 60,000 to train on and 10,000 to test with, 10 classes (LeCun, Bottou,
    Bengio & Haffner 1998), from local files.
    """

    name: Literal["mnist"] = "mnist"
    images = 60_000
    image = (1, 28, 28)


def load(options: Options, seed: int) -> Data:
    """Images of the published files, laid out, standardised and split."""
    from gradscope.training.idx import read
    from gradscope.training.images import assembled

    train, test = (read(options, CHECKSUMS, part, CLASSES) for part in ("train", "t10k"))
    return assembled(train, test, options, seed, CLASSES)
