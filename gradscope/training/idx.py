"""IDX, the format in which MNIST was published and what came after it in its form: images and labels, four files."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradscope.training.published import PublishedImages, content, damaged, found, hold_to

Bytes = NDArray[np.uint8]

UNSIGNED_BYTE = 0x08
"""Third byte of the magic number of files of such entries; the fourth is the number of dimensions."""


def parsed(path: Path, held: bytes, dimensions: int) -> Bytes:
    """The array of an IDX file of unsigned bytes. Raises ``TrainingError`` where it is not one."""
    start = 4 + 4 * dimensions
    if held[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(held) < start:
        raise damaged(path, f"it does not start as an IDX file of bytes in {dimensions} dimensions (got {held[:4].hex()})")
    shape = struct.unpack(f">{dimensions}I", held[4:start])
    expected = start + math.prod(shape)
    if len(held) != expected:
        raise damaged(path, f"it has {len(held):,} bytes, and its first ones promise {expected:,}")
    return np.frombuffer(held, np.uint8, offset=start).reshape(shape)


def read(options: PublishedImages, checksums: Mapping[str, str], part: str, classes: int) -> tuple[Bytes, Bytes]:
    """Images (rows, 1, height, width) and labels (rows,), bytes, of the ``part`` train or t10k.

    ``checksums`` are the MD5s of the unpacked files. Raises ``TrainingError`` where a file is missing or damaged.
    """
    paths, arrays = [], []
    for name, dimensions in ((f"{part}-images-idx3-ubyte", 3), (f"{part}-labels-idx1-ubyte", 1)):
        path = found(options, name, f"{name}.gz")
        held = content(path)
        paths.append(path)
        arrays.append(parsed(path, held, dimensions))
        if options.published:
            hold_to(path, held, checksums[name])
    images, labels = arrays
    if images.shape[1:] != options.image[1:]:
        raise damaged(paths[0], f"its images have {images.shape[1:]} pixels (expected {options.image[1:]})")
    if len(images) != len(labels) or not len(labels):
        raise damaged(paths[1], f"it has {len(labels):,} labels for {len(images):,} images")
    if labels.max() >= classes:
        raise damaged(paths[1], f"a label is {labels.max()} (expected 0 to {classes - 1})")
    return images[:, None], labels
