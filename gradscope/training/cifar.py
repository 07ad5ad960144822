"""The files of CIFAR-10, in both forms in which they were published: bytes, and pickles of arrays."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.training.published import PublishedImages, content, damaged, found, hold_to

Bytes = NDArray[np.uint8]

PIXELS = 3 * 32 * 32
CLASSES = 10
ROWS = 10_000
"""Images of a published file."""
FOLDERS = ("", "cifar-10-batches-bin/", "cifar-10-batches-py/")
"""Where the files may lie in the data set's folder: as they are, or as the published archives unpack."""
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}
"""All that a pickle may name: what numpy's arrays are made of."""


class ArraysOnly(pickle.Unpickler):
    """Reads numbers, texts, lists, dicts and arrays, and refuses a pickle that names anything else, before it runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only arrays and plain containers are allowed")
        return super().find_class(module, name)


def read(options: PublishedImages, stem: str, checksums: tuple[str, str]) -> tuple[Bytes, Bytes]:
    """Images (rows, 3, 32, 32) and labels (rows,), bytes, of one file such as ``data_batch_1``.

    ``checksums`` are the MD5s of the file as bytes and as a pickle. Raises ``TrainingError`` where it is missing or damaged.
    """
    path = found(options, *(f"{folder}{stem}{end}" for end in (".bin", "") for folder in FOLDERS))
    held, binary = content(path), path.suffix == ".bin"
    if binary and options.published and len(held) != ROWS * (PIXELS + 1):
        raise damaged(path, f"it has {len(held):,} bytes (expected {ROWS * (PIXELS + 1):,})")
    if options.published:
        hold_to(path, held, checksums[0 if binary else 1])
    pixels: Bytes
    labels: NDArray[np.integer[Any]]
    pixels, labels = _binary(path, held) if binary else _pickled(path, held)
    if len(labels) and (labels.max() >= CLASSES or labels.min() < 0):
        wrong = labels[(labels >= CLASSES) | (labels < 0)][0]
        raise damaged(path, f"a label is {wrong} (expected 0 to {CLASSES - 1})")
    return pixels.reshape(-1, *options.image), labels.astype(np.uint8)


def _binary(path: Path, held: bytes) -> tuple[Bytes, Bytes]:
    """Rows of a label and its pixels, channel by channel."""
    if not held or len(held) % (PIXELS + 1):
        raise damaged(path, f"it has {len(held):,} bytes (expected a multiple of {PIXELS + 1:,}: a label, {PIXELS:,} pixels)")
    rows = np.frombuffer(held, np.uint8).reshape(-1, PIXELS + 1)
    return rows[:, 1:], rows[:, 0]


def _pickled(path: Path, held: bytes) -> tuple[Bytes, NDArray[np.int64]]:
    """A dict with ``data``, bytes (rows, 3072), and ``labels``, a list, as Python 2 wrote it."""
    try:
        batch = ArraysOnly(io.BytesIO(held), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise damaged(path, f"it cannot be unpickled ({error})") from error
    given = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()} if isinstance(batch, dict) else {}
    pixels, labels = given.get("data"), given.get("labels")
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (PIXELS,) and len(pixels)):
        raise damaged(path, f"its 'data' is no array of bytes (rows, {PIXELS:,})")
    if not (isinstance(labels, list) and len(labels) == len(pixels) and all(type(k) is int for k in labels)):
        raise damaged(path, f"its 'labels' is no list of {len(pixels):,} whole numbers")
    return pixels, np.asarray(labels, np.int64)
