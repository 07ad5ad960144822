"""Files in the layouts in which MNIST and CIFAR-10 were published, of a few made-up images."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAIN, TEST = 60, 20
"""Images of a training and of a test file."""


def images(rows: int, *shape: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bytes (rows, *shape), and labels (rows,) that hold every class."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (rows, *shape), np.uint8), (np.arange(rows) % 10).astype(np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def python2_pickle(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """A batch as the published pickles are: protocol 2, by Python 2 and its numpy; byte strings, numpy.core.multiarray."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)  # BININT

    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR("
    dtype += number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = b"(" + b"".join(number(n) for n in pixels.shape) + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR("
    array += number(1) + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    listed = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def batches() -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Stem of each file of CIFAR-10 -> pixels (rows, 3072) and labels."""
    train = {f"data_batch_{i}": images(TRAIN // 5, 3072, seed=i) for i in range(1, 6)}
    return {**train, "test_batch": images(TEST, 3072, seed=6)}


def write(folder: Path) -> None:
    """``mnist/``, ``fashion-mnist/`` (packed), ``cifar10/`` (bytes), ``cifar10-pickled/`` and ``npz.npz`` in ``folder``."""
    for seed, name in enumerate(("mnist", "fashion-mnist")):
        (folder / name).mkdir()
        for part, rows in (("train", TRAIN), ("t10k", TEST)):
            pixels, labels = images(rows, 28, 28, seed=10 * seed + rows)
            for kind, array in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", labels)):
                path, held = folder / name / f"{part}-{kind}", idx(array)
                if seed:
                    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(held))
                else:
                    path.write_bytes(held)
    binary, pickled = folder / "cifar10", folder / "cifar10-pickled" / "cifar-10-batches-py"
    binary.mkdir()
    pickled.mkdir(parents=True)
    for stem, (pixels, labels) in batches().items():
        (binary / f"{stem}.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())
        (pickled / stem).write_bytes(python2_pickle(pixels, labels))
    draw = np.random.default_rng(0)
    np.savez(folder / "npz.npz", x=draw.normal(size=(50, 7)), y=np.arange(50) % 3)
