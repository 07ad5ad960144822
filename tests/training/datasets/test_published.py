"""MNIST, Fashion-MNIST and CIFAR-10 from files: what is read, what is refused, and with which words."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.errors import ConfigError, TrainingError
from gradscope.training.cifar import ArraysOnly
from gradscope.training.config import DATASETS, Config
from gradscope.training.data import Data
from gradscope.training.images import channel_statistics
from tests.training.datasets import made_up
from tests.training.datasets.loading import load

SETS = ["mnist", "fashion-mnist", "cifar10"]


def read(folder: Path, name: str, **options: Any) -> Data:
    return load(name, **{"path": str(folder), "published": False, "batch_size": 8, **options})


def theirs(name: str, *, test: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and labels that were written."""
    if name == "cifar10":
        parts = [v for k, v in made_up.batches().items() if (k == "test_batch") == test]
        pixels, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return torch.tensor(pixels.reshape(-1, 3, 32, 32)), torch.tensor(labels)
    rows = made_up.TEST if test else made_up.TRAIN
    pixels, labels = made_up.images(rows, 28, 28, seed=10 * SETS.index(name) + rows)
    return torch.tensor(pixels)[:, None], torch.tensor(labels)


def fingerprint(x: torch.Tensor, y: torch.Tensor) -> list[tuple[float, ...]]:
    """Sorted rows: class and a few pixels."""
    flat = x.flatten(1)[:, ::97]
    return sorted((float(k), *(round(v, 3) for v in row)) for k, row in zip(y.tolist(), flat.tolist(), strict=True))


@pytest.mark.parametrize("name", SETS)
def test_images_are_those_of_the_files_each_channel_standardised_by_the_training_images(name: str, made_up_files: Path) -> None:
    data = read(made_up_files / name, name)
    x, y = theirs(name)
    mean = x.double().mean((0, 2, 3), keepdim=True)
    std = x.double().std((0, 2, 3), correction=0, keepdim=True)
    assert fingerprint((x - mean) / std, y) == fingerprint(data.train.x.double(), data.train.y)
    x, y = theirs(name, test=True)
    assert fingerprint((x - mean) / std, y) == fingerprint(data.validation.x.double(), data.validation.y)
    assert data.input_shape == DATASETS[name].Options().shape
    assert (data.outputs, data.train.x.dtype, data.train.y.dtype) == (10, torch.float32, torch.int64)


@pytest.mark.parametrize("name", SETS)
def test_a_share_of_the_training_images_may_be_kept_aside_instead_of_the_test_images(name: str, made_up_files: Path) -> None:
    data = read(made_up_files / name, name, validation=0.5)
    assert (len(data.train), len(data.validation)) == (30, 30)
    of_all = torch.bincount(theirs(name)[1]) / 2
    assert ((torch.bincount(data.validation.y) - of_all).abs() <= 0.5).all()
    assert data.train.x.double().mean((0, 2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("name", SETS)
def test_layouts_hold_the_same_pixels(name: str, made_up_files: Path) -> None:
    image, flat, rows, pixels = (
        read(made_up_files / name, name, layout=layout).train.x for layout in ("image", "flat", "rows", "pixels")
    )
    assert torch.equal(flat, image.flatten(1))
    assert torch.equal(rows[:, 3], image[:, :, 3].flatten(1))
    assert torch.equal(pixels[:, 5], image[:, :, 0, 5])
    for x, layout in ((flat, "flat"), (rows, "rows"), (pixels, "pixels")):
        assert x.shape[1:] == DATASETS[name].Options(layout=layout).shape


def test_pickled_files_hold_what_the_binary_ones_hold(made_up_files: Path) -> None:
    binary, pickled = (read(made_up_files / folder, "cifar10") for folder in ("cifar10", "cifar10-pickled"))
    assert torch.equal(binary.train.x, pickled.train.x)
    assert torch.equal(binary.validation.y, pickled.validation.y)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_arrays_that_a_newer_python_wrote_are_read(protocol: int, made_up_files: Path, tmp_path: Path) -> None:
    for stem, (pixels, labels) in made_up.batches().items():
        held = {"data": pixels, "labels": labels.tolist(), "batch_label": b"x"}
        (tmp_path / stem).write_bytes(pickle.dumps(held, protocol))
    assert torch.equal(read(tmp_path, "cifar10").train.x, read(made_up_files / "cifar10", "cifar10").train.x)


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_anything_but_arrays_is_refused_before_it_runs(
    protocol: int, made_up_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made_up_files / "cifar10-pickled", tmp_path / "files")
    (tmp_path / "files/cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps({"data": Harmful()}, protocol))
    with pytest.raises(TrainingError, match=r"data_batch_1 is damaged: .*names \w+\.system, and only arrays"):
        read(tmp_path / "files", "cifar10")
    assert not (tmp_path / "harm").exists()


def test_builtins_are_no_arrays() -> None:
    import io

    for named in (b"c__builtin__\neval\n.", b"cbuiltins\ngetattr\n.", b"c_codecs\nencode\n.", b"cnumpy\nload\n."):
        with pytest.raises(pickle.UnpicklingError, match="only arrays"):
            ArraysOnly(io.BytesIO(b"\x80\x02" + named)).load()


def test_a_missing_file_is_told_by_name_and_place_and_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError) as raised:
        read(tmp_path, "mnist")
    assert str(raised.value) == (
        f"the data set 'mnist' needs train-images-idx3-ubyte or train-images-idx3-ubyte.gz in {tmp_path}, and there is none"
    )
    assert "data.path" in (raised.value.hint or "")
    monkeypatch.setenv("GRADSCOPE_DATA", str(tmp_path / "all"))
    with pytest.raises(TrainingError, match=f"in {tmp_path}/all/cifar10, and there is none"):
        load("cifar10")
    monkeypatch.delenv("GRADSCOPE_DATA")
    with pytest.raises(TrainingError, match="in data/fashion-mnist, and there is none"):
        load("fashion-mnist")


def test_the_folder_of_all_data_sets_is_an_environment_variable(made_up_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSCOPE_DATA", str(made_up_files))
    assert len(load("cifar10", published=False, batch_size=8).train) == made_up.TRAIN


def test_a_file_that_is_not_the_published_one_is_refused_unless_that_is_allowed(made_up_files: Path) -> None:
    for name, file in (("mnist", "train-images-idx3-ubyte"), ("fashion-mnist", "train-images-idx3-ubyte.gz")):
        with pytest.raises(TrainingError, match=f"{file} is not the published file: its MD5 is") as raised:
            load(name, path=str(made_up_files / name))
        assert "data.published" in (raised.value.hint or "")
    with pytest.raises(TrainingError, match=r"data_batch_1.bin is damaged: it has 36,876 bytes \(expected 30,730,000\)"):
        load("cifar10", path=str(made_up_files / "cifar10"))
    with pytest.raises(TrainingError, match="data_batch_1 is not the published file"):
        load("cifar10", path=str(made_up_files / "cifar10-pickled"))


def cut(held: bytes) -> bytes:
    return held[:-1]


def longer(held: bytes) -> bytes:
    return held + b"\0"


def other_label(at: int) -> Callable[[bytes], bytes]:
    return lambda held: held[:at] + b"\x0a" + held[at + 1 :]


def magic(held: bytes) -> bytes:
    return b"\x00\x00\x0d\x03" + held[4:]


DAMAGE: dict[str, tuple[str, str, Callable[[bytes], bytes], str]] = {
    "images cut": ("mnist", "train-images-idx3-ubyte", cut, "it has 47,055 bytes, and its first ones promise 47,056"),
    "images longer": ("mnist", "t10k-images-idx3-ubyte", longer, "it has 15,697 bytes, and its first ones promise 15,696"),
    "labels cut": ("mnist", "t10k-labels-idx1-ubyte", cut, "it has 27 bytes, and its first ones promise 28"),
    "floats": ("mnist", "train-images-idx3-ubyte", magic, "it does not start as an IDX file of bytes in 3 dimensions"),
    "empty": ("mnist", "train-images-idx3-ubyte", lambda held: b"", "it does not start as an IDX file"),
    "a label of 10": ("mnist", "train-labels-idx1-ubyte", other_label(8), r"a label is 10 \(expected 0 to 9\)"),
    "fewer labels": (
        "mnist",
        "train-labels-idx1-ubyte",
        lambda held: made_up.idx(np.zeros(59, np.uint8)),
        "it has 59 labels for 60 images",
    ),
    "other images": (
        "mnist",
        "train-images-idx3-ubyte",
        lambda held: made_up.idx(np.zeros((60, 20, 20), np.uint8)),
        r"its images have \(20, 20\) pixels \(expected \(28, 28\)\)",
    ),
    "packed and cut": ("fashion-mnist", "train-images-idx3-ubyte.gz", lambda held: held[:500], "it cannot be unpacked"),
    "not packed": ("fashion-mnist", "train-labels-idx1-ubyte.gz", lambda held: b"no gzip", "it cannot be unpacked"),
    "packed, a byte changed": (
        "fashion-mnist",
        "train-images-idx3-ubyte.gz",
        lambda held: held[:-5] + bytes([held[-5] ^ 1]) + held[-4:],
        "it cannot be unpacked",
    ),
    "batch cut": ("cifar10", "data_batch_3.bin", cut, r"it has 36,875 bytes \(expected a multiple of 3,073"),
    "batch empty": ("cifar10", "test_batch.bin", lambda held: b"", "it has 0 bytes"),
    "batch with a label of 10": ("cifar10", "data_batch_2.bin", other_label(3073), r"a label is 10 \(expected 0 to 9\)"),
    "pickle cut": ("cifar10-pickled", "cifar-10-batches-py/data_batch_1", cut, "it cannot be unpickled"),
    "pickle of a list": (
        "cifar10-pickled",
        "cifar-10-batches-py/data_batch_1",
        lambda held: pickle.dumps([1]),
        "its 'data' is no array of bytes",
    ),
    "pickle with few labels": (
        "cifar10-pickled",
        "cifar-10-batches-py/test_batch",
        lambda held: made_up.python2_pickle(*made_up.images(4, 3072, seed=0)).replace(b"e" + b"u.", b"J\0\0\0\0e" + b"u."),
        "its 'labels' is no list of 4 whole numbers",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_truncated_or_tampered_file_is_refused_with_what_is_wrong(case: str, made_up_files: Path, tmp_path: Path) -> None:
    folder, file, harm, message = DAMAGE[case]
    shutil.copytree(made_up_files / folder, tmp_path / "files")
    path = tmp_path / "files" / file
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(TrainingError, match=message) as raised:
        read(tmp_path / "files", folder.removesuffix("-pickled"))
    assert str(path) in str(raised.value)


def test_a_packed_file_is_held_to_the_checksum_of_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from gradscope.training import idx
    from gradscope.training.datasets import mnist

    options = mnist.Options(path=str(tmp_path))
    sums = {}
    for kind, array in zip(("images-idx3", "labels-idx1"), made_up.images(5, 28, 28, seed=0), strict=True):
        held = made_up.idx(array)
        (tmp_path / f"train-{kind}-ubyte.gz").write_bytes(gzip.compress(held, compresslevel=1))
        sums[f"train-{kind}-ubyte"] = hashlib.md5(held).hexdigest()
    images, labels = idx.read(options, sums, "train", 10)
    assert (images.shape, labels.tolist()) == ((5, 1, 28, 28), [0, 1, 2, 3, 4])
    with pytest.raises(TrainingError, match="not the published file"):
        idx.read(options, {**sums, "train-labels-idx1-ubyte": "0" * 32}, "train", 10)


def test_a_batch_larger_than_the_files_is_refused_when_they_are_read(made_up_files: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size: larger than the training data \(got 64; expected at most 60"):
        read(made_up_files / "mnist", "mnist", batch_size=64)
    with pytest.raises(ValueError, match="expected at most 50000 of 50000 rows"):
        Config.model_validate({"model": {"kind": "cnn"}, "data": {"name": "cifar10", "batch_size": 50_001}})


def test_statistics_of_bytes_are_exact_and_a_constant_channel_is_left_to_itself() -> None:
    images = torch.randint(256, (50, 3, 8, 8), dtype=torch.uint8)
    images[:, 1] = 7
    mean, std = channel_statistics(images)
    expected = images.double().transpose(0, 1).flatten(1)
    assert torch.allclose(mean.flatten().double(), expected.mean(1), rtol=1e-6)
    assert torch.allclose(std.flatten()[[0, 2]].double(), expected.std(1, correction=0)[[0, 2]], rtol=1e-6)
    assert std.flatten()[1] == 1.0
